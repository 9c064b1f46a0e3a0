// What the binding files offer to module.cpp: one function a family.
#pragma once

#include <pybind11/pybind11.h>

namespace pyscale {

void bind_all_reduce(pybind11::module_& m);
void bind_balance(pybind11::module_& m);
void bind_collect(pybind11::module_& m);
void bind_config(pybind11::module_& m);
void bind_data(pybind11::module_& m);
void bind_dense(pybind11::module_& m);
void bind_embedding(pybind11::module_& m);
void bind_exchange(pybind11::module_& m);
void bind_forest(pybind11::module_& m);
void bind_group(pybind11::module_& m);
void bind_kernels(pybind11::module_& m);
void bind_loader(pybind11::module_& m);
void bind_multiset(pybind11::module_& m);
void bind_rows(pybind11::module_& m);
void bind_shm(pybind11::module_& m);
void bind_topk(pybind11::module_& m);

}  // namespace pyscale
