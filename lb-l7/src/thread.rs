//! Which thread is this, for what each thread is to have of its own.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The number of the calling thread, by which it takes its worker: threads that begin one after the
/// other have numbers that follow each other.
pub(crate) fn index() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static INDEX: usize = NEXT.fetch_add(1, Relaxed);
    }
    // A thread that is ending has no number any more, and may use anybody's worker.
    INDEX.try_with(|&index| index).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_keeps_its_number_and_no_other_has_it() {
        let own = index();
        assert_eq!(own, index());
        let others = (0..3).map(|_| std::thread::spawn(index).join().unwrap());
        let others: std::collections::BTreeSet<_> = others.collect();
        assert_eq!(others.len(), 3);
        assert!(!others.contains(&own));
    }
}
