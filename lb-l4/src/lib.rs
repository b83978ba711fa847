//! Forwards TCP and UDP sessions over sockets.
