//! Huge pages for the tables of a forwarder.

use std::io;

use lbcore::session::Region;

use crate::sys;

/// Asks the kernel to hold these regions in huge pages, such as those of
/// [`Forwarder::regions`](crate::forwarder::Forwarder::regions).
///
/// Done before the tables fill, each page of 2 MiB is then handed over whole when it is first
/// touched; memory that was used before is gathered by the kernel in time. It takes more memory
/// while the tables are thinly filled. Does nothing where huge pages are switched off
/// (`/sys/kernel/mm/transparent_hugepage/enabled` is `never`), and regions smaller than such a page
/// do not gain.
///
/// Linux 2.6.38.
///
/// # Errors
///
/// The kernel knows no huge pages.
pub fn advise(regions: &[Region]) -> io::Result<()> {
    regions
        .iter()
        .try_for_each(|region| sys::huge_pages::advise(region.start, region.bytes))
}
