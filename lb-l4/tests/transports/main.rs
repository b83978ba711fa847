//! Transports, held to their laws and put between real kernels.

#[cfg(test)]
#[cfg(all(feature = "af-packet", feature = "tun"))]
mod bridges;
#[cfg(test)]
#[cfg(all(feature = "af-packet", feature = "tun"))]
mod kernel;
#[cfg(test)]
mod laws;
#[cfg(test)]
#[cfg(all(feature = "af-packet", feature = "tun"))]
mod netns;
