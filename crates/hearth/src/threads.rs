//! The threads that compute: one number for the kernels and for what else has a pool of its own.

/// Has no more than `count` threads compute models. To be called before there are other threads.
pub(crate) fn use_them(count: usize) {
    models::threads::set(count);
    for name in models::threads::VARIABLES {
        #[allow(unsafe_code)]
        // SAFETY: the process has one thread yet, so that nobody reads the environment meanwhile; what these
        // libraries have of it is not to be told otherwise.
        unsafe {
            std::env::set_var(name, count.to_string());
        }
    }
}
