// pyscale._core: the only native module, private to the package.
#include "bindings/bindings.h"

PYBIND11_MODULE(_core, m) {
    m.doc() = "The C++ side of pyscale. Private: it checks what memory safety needs and no more.";
    pyscale::bind_config(m);
    pyscale::bind_kernels(m);
    pyscale::bind_data(m);
    pyscale::bind_balance(m);
    pyscale::bind_loader(m);
    pyscale::bind_multiset(m);
    pyscale::bind_rows(m);
    pyscale::bind_collect(m);
    pyscale::bind_shm(m);
    pyscale::bind_group(m);
    pyscale::bind_exchange(m);
    pyscale::bind_forest(m);
    pyscale::bind_dense(m);
    pyscale::bind_embedding(m);
    pyscale::bind_topk(m);
    pyscale::bind_all_reduce(m);
}
