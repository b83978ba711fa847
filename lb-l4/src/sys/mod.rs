//! What the kernel is asked for directly; the rest of the crate calls these safe faces.
#![expect(
    unsafe_code,
    reason = "system calls, memory shared with the kernel, descriptors that a runtime watches"
)]

#[cfg(feature = "tokio")]
pub(crate) mod datagram;
pub(crate) mod huge_pages;
#[cfg(any(feature = "af-packet", feature = "af-xdp"))]
pub(crate) mod mapping;
#[cfg(feature = "tokio")]
pub(crate) mod pipe;
#[cfg(feature = "tokio")]
pub(crate) mod readiness;
#[cfg(feature = "tokio")]
pub(crate) mod saved_syn;
#[cfg(feature = "tokio")]
pub(crate) mod socket;
