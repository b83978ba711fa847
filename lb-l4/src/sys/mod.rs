//! What the kernel is asked for directly; the rest of the crate calls these safe faces.
#![expect(
    unsafe_code,
    reason = "system calls, memory shared with the kernel, descriptors that a runtime watches"
)]

#[cfg(any(feature = "af-packet", feature = "af-xdp", feature = "tun"))]
pub(crate) mod addresses;
#[cfg(feature = "af-xdp")]
pub(crate) mod bpf;
#[cfg(feature = "tokio")]
pub(crate) mod datagram;
#[cfg(feature = "af-xdp")]
pub(crate) mod ethtool;
pub(crate) mod huge_pages;
#[cfg(any(feature = "af-packet", feature = "af-xdp", feature = "tun"))]
pub(crate) mod interface;
#[cfg(any(feature = "af-packet", feature = "af-xdp"))]
pub(crate) mod mapping;
#[cfg(feature = "af-packet")]
pub(crate) mod packet;
#[cfg(feature = "tokio")]
pub(crate) mod pipe;
#[cfg(feature = "tokio")]
pub(crate) mod readiness;
#[cfg(feature = "af-packet")]
pub(crate) mod ring;
#[cfg(feature = "tokio")]
pub(crate) mod saved_syn;
#[cfg(feature = "tokio")]
pub(crate) mod socket;
#[cfg(feature = "tun")]
pub(crate) mod tun;
#[cfg(feature = "af-xdp")]
pub(crate) mod umem;
pub(crate) mod wake;
#[cfg(feature = "af-xdp")]
pub(crate) mod xdp_ring;
#[cfg(feature = "af-xdp")]
pub(crate) mod xdp_socket;
