//! Fragments: what the table says of them, what it holds, and how packets are cut.

#[cfg(test)]
mod build;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod order;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod split;
