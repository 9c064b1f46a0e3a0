// Signals, and the threads that are not meant by them.
#pragma once

#include <signal.h>

namespace pyscale {

// Threads that are begun while it lives get no signals: those are for the threads of the program, which know
// what to do with them. But for a thread's own faults, whose handlers say where they were.
class SignalsHeld {
   public:
    SignalsHeld() {
        sigset_t held;
        sigfillset(&held);
        for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) sigdelset(&held, fault);
        pthread_sigmask(SIG_SETMASK, &held, &before_);
    }
    ~SignalsHeld() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    SignalsHeld(const SignalsHeld&) = delete;
    SignalsHeld& operator=(const SignalsHeld&) = delete;

   private:
    sigset_t before_;
};

}  // namespace pyscale
