//! ICMP errors of others and of our own, and echo, against packets built from scratch.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod build;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod tunnels;
