//! What the kernel is asked for directly; the rest of the crate calls these safe faces.
#![expect(unsafe_code, reason = "descriptors that a runtime watches")]

pub(crate) mod datagram;
pub(crate) mod pipe;
pub(crate) mod readiness;
pub(crate) mod socket;
