//! Servers, clients and hosts for the tests that cross crates.
