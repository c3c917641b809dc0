//! Memory that was freed and that the allocator has kept, given back to the system.

/// Gives back what lies free in the allocator. Loading a policy takes millions of small pieces on several threads and frees most of them, and a
/// model is read before it is packed; glibc keeps those pages for later, half of what the process then holds. It takes some ten
/// milliseconds.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "malloc_trim takes an integer and touches free memory only; there is no safe name for it")]
pub fn give_back() {
    // SAFETY: it may be called at any time, from any thread.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators give back by themselves.
#[cfg(not(target_env = "gnu"))]
pub fn give_back() {}
