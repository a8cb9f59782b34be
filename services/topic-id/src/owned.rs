//! What librdkafka has handed over, destroyed when dropped.

use std::ptr::NonNull;

/// A pointer that is ours, with the function that destroys what it points to.
pub(crate) struct Owned<T> {
    ptr: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// Takes ownership, if there is anything to own.
    ///
    /// # Safety
    /// `ptr` has to be null, or live and nobody else's to destroy, by `destroy`.
    pub(crate) unsafe fn new(ptr: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        NonNull::new(ptr).map(|ptr| Self { ptr, destroy })
    }

    /// The pointer, live as long as this is.
    pub(crate) fn ptr(&self) -> *mut T {
        self.ptr.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the promise made to `new`; this happens once.
        unsafe { (self.destroy)(self.ptr.as_ptr()) }
    }
}
