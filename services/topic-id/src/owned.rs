//! Objects of librdkafka that are destroyed when dropped.

use std::ptr::NonNull;

/// An owned pointer, with the function that destroys its object.
pub(crate) struct Owned<T> {
    ptr: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// Takes ownership; `None` if the pointer is null.
    ///
    /// # Safety
    /// `ptr` must be null, or point to a live object that only this value destroys, with `destroy`.
    pub(crate) unsafe fn new(ptr: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        NonNull::new(ptr).map(|ptr| Self { ptr, destroy })
    }

    /// The pointer, valid as long as this value.
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
