#include "shm/collectives.h"

namespace pyscale {

void barrier(Group& group) {
    Call call;
    call.collective = Collective::barrier;
    group.open(call, 0);
    group.announce();
    group.meet();
}

}  // namespace pyscale
