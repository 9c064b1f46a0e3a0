// The threads of a process that help whoever has a loop to share.
#pragma once

namespace pyscale {

class SharedLoop;
struct Place;

// While it lives, helpers may take chunks of a loop; at its end none is at it any more. There need not be
// any: where the system gives no more threads, or many callers are at it already, the caller does it all.
class Shown {
   public:
    Shown(SharedLoop& loop, int helpers);
    ~Shown();
    Shown(const Shown&) = delete;
    Shown& operator=(const Shown&) = delete;

   private:
    Place* place_;
};

}  // namespace pyscale
