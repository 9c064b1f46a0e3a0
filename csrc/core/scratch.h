// Memory of a thread's own, kept from call to call.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace pyscale {

class Scratch {
   public:
    // At least so many bytes, from a cache line on; what was there before is lost when it grows.
    void* get(size_t bytes) {
        if (bytes > size_) {
            memory_.reset();
            size_ = 0;
            memory_.reset(::operator new(bytes, std::align_val_t{64}));
            size_ = bytes;
        }
        return memory_.get();
    }

   private:
    struct Free {
        void operator()(void* p) const { ::operator delete(p, std::align_val_t{64}); }
    };
    std::unique_ptr<void, Free> memory_;
    size_t size_ = 0;
};

}  // namespace pyscale
