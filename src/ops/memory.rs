//! The one place that asks the system how it hands out memory.

/// Has memory handed out in pages of 4 KiB only.
///
/// A huge page is cleared as a whole when it is first touched, and the allocator asks for them. That takes up to 6 ms where a
/// host has to find the memory first, and whoever waits for the disk waits for that, too.
pub fn hand_out_in_small_pages() {
    // Where the system does not know of it, all is as it was.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
