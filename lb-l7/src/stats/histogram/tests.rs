use proptest::prelude::*;

use super::*;

const fn nanos(n: u64) -> Duration {
    Duration::from_nanos(n)
}

/// Where a bucket begins, found by looking.
fn first_of(bucket: usize) -> u64 {
    let (mut low, mut high) = (0, u64::MAX);
    while low < high {
        let middle = low + (high - low) / 2;
        if bucket_of(middle) < bucket {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[test]
fn buckets_begin_where_they_should() {
    assert_eq!(BUCKETS, 249);
    assert_eq!((bucket_of(0), bucket_of(127), bucket_of(128)), (0, 0, 1));
    assert_eq!((bucket_of(1_023), bucket_of(1_024)), (7, 8));
    assert_eq!((bucket_of(2_047), bucket_of(2_048)), (15, 16));
    assert_eq!((bucket_of(2_303), bucket_of(2_304)), (16, 17));
    assert_eq!(bucket_of((1 << 40) - 1), LAST - 1);
    assert_eq!(bucket_of(1 << 40), LAST);
    assert_eq!(bucket_of(u64::MAX), LAST);
}

#[test]
fn a_middle_lies_in_the_middle_of_its_bucket() {
    for bucket in 0..LAST {
        let (first, next) = (first_of(bucket), first_of(bucket + 1));
        assert_eq!(middle_of(bucket), first + (next - first) / 2, "{bucket}");
        assert_eq!(bucket_of(middle_of(bucket)), bucket);
        if bucket >= 8 {
            assert!((next - first) * 8 <= first, "{bucket}");
        }
    }
    assert_eq!(middle_of(LAST), 1 << 40);
}

#[test]
fn the_first_and_the_last_rank_are_the_shortest_and_the_longest() {
    let histogram = Histogram::default();
    assert_eq!(histogram.snapshot().quantile(0.5), None);
    assert_eq!(histogram.snapshot().mean(), None);
    for n in [64, 1_024 + 64, 1 << 50] {
        histogram.record(nanos(n));
    }
    let snapshot = histogram.snapshot();
    assert_eq!(snapshot.quantile(-1.0), Some(nanos(64)));
    assert_eq!(snapshot.quantile(0.0), Some(nanos(64)));
    assert_eq!(snapshot.quantile(1.0 / 3.0), Some(nanos(64)));
    assert_eq!(snapshot.quantile(0.34), Some(nanos(1_024 + 64)));
    assert_eq!(snapshot.quantile(2.0 / 3.0), Some(nanos(1_024 + 64)));
    assert_eq!(snapshot.quantile(1.0), Some(nanos(1 << 40)));
    assert_eq!(snapshot.quantile(f64::INFINITY), Some(nanos(1 << 40)));
    assert_eq!(snapshot.count(), 3);
    assert_eq!(snapshot.sum(), nanos(64 + 1_024 + 64 + (1 << 50)));
    assert_eq!(snapshot.mean(), Some(snapshot.sum() / 3));
}

#[test]
fn a_duration_beyond_584_years_is_the_longest() {
    let histogram = Histogram::default();
    histogram.record(Duration::MAX);
    assert_eq!(histogram.snapshot().quantile(0.5), Some(nanos(1 << 40)));
}

#[test]
fn cumulative_counts_rise_to_what_is_below_each_bound() {
    let histogram = Histogram::default();
    for ms in [1, 2, 3, 20, 20, 400] {
        histogram.record(Duration::from_millis(ms));
    }
    histogram.record(Duration::from_secs(100_000));
    let bounds =
        [0, 1_500, 2_500, 2_500, 10_000, 1_000_000, 200_000_000_000].map(Duration::from_micros);
    let snapshot = histogram.snapshot();
    let counts: Vec<_> = snapshot.cumulative(&bounds).map(|(_, n)| n).collect();
    // What is longer than the last bucket is known to be long, and no more.
    assert_eq!(counts, [0, 1, 2, 2, 3, 6, 6]);
    let told: Vec<_> = snapshot
        .cumulative(&bounds)
        .map(|(bound, _)| bound)
        .collect();
    assert_eq!(told, bounds);
}

#[test]
fn the_bounds_for_prometheus_rise() {
    assert!(DEFAULT_BOUNDS.is_sorted_by(|a, b| a < b));
}

#[test]
fn a_bound_at_the_middle_of_a_bucket_takes_it_in() {
    let histogram = Histogram::default();
    histogram.record(nanos(1_024));
    let bounds = [nanos(1_024 + 63), nanos(1_024 + 64)];
    let snapshot = histogram.snapshot();
    let counts: Vec<_> = snapshot.cumulative(&bounds).map(|(_, n)| n).collect();
    assert_eq!(counts, [0, 1]);
}

proptest! {
    /// Against the sorted durations themselves.
    #[test]
    fn a_quantile_is_within_the_documented_error(
        mut all in prop::collection::vec((0_u32..40, any::<u64>()).prop_map(|(shift, n)| n >> (24 + shift)), 1..300),
        q in 0.0..=1.0_f64,
    ) {
        let histogram = Histogram::default();
        all.iter().for_each(|&n| histogram.record_alone(nanos(n)));
        all.sort_unstable();
        // The first whose rank, as a part of all, is not below the quantile's.
        let rank = |index: usize| (index + 1) as f64;
        let reached = |index: &usize| rank(*index) >= q * all.len() as f64;
        let truth = all[(0..all.len()).find(reached).unwrap()] as f64;
        let told = histogram.snapshot().quantile(q).unwrap().as_nanos() as f64;
        let error = (told - truth).abs();
        let bound = if truth < 1_024.0 { 64.0 } else { truth * HistogramSnapshot::RELATIVE_ERROR };
        prop_assert!(error <= bound, "{told} for {truth}");
    }

    #[test]
    fn snapshots_of_two_add_up_to_the_snapshot_of_both(
        left in prop::collection::vec(any::<u64>().prop_map(|n| n >> 20), 0..50),
        right in prop::collection::vec(any::<u64>().prop_map(|n| n >> 20), 0..50),
    ) {
        let (one, two, both) = (Histogram::default(), Histogram::default(), Histogram::default());
        for &n in &left {
            one.record(nanos(n));
            both.record(nanos(n));
        }
        for &n in &right {
            two.record_alone(nanos(n));
            both.record(nanos(n));
        }
        let mut sum = one.snapshot();
        sum += &two.snapshot();
        prop_assert_eq!(&sum, &both.snapshot());
        prop_assert_eq!(sum.count(), (left.len() + right.len()) as u64);
        prop_assert_eq!(sum.sum(), nanos(left.iter().chain(&right).sum()));
    }
}
