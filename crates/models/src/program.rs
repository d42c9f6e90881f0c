//! Pages of the program and of its libraries in memory: most of what a start or a load reads of them is not read again.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod segments;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod singly;

/// Gives back the pages of code and constants. Those that are touched again are mapped again, from the system's cache of
/// the file, or are read again where it needed that memory: each by itself from now on, where the system can do that.
pub fn give_back() {
    // Elsewhere the system takes them when it wants to.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    segments::each(|pages| {
        singly::map(pages);
        segments::give_back(pages);
    });
}
