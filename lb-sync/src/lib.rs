//! Copies sessions to a standby, by multicast. Not built yet.
//!
//! This crate will turn the change stream of an `lbcore` session table into datagrams and back: the
//! IPVS sync protocol as a Linux kernel speaks it, and a native mode that is authenticated, notices
//! loss, repairs it, and resynchronises a node that joins, so that a node may fail, be upgraded or
//! be taken out and established sessions go on.
#![forbid(unsafe_code)]
