//! Verdict tables: what it says, what comes in, the verdict, what goes out. One file a topic.
//!
//! A row is a story of steps in a world; `line` says how a packet is written in a line, and
//! `harness` what can happen in a step.
//!
//! # What forwarders get wrong
//!
//! Where each of the hard points is proved: `verdicts::` is meant where nothing else is said, `src::`
//! are tests beside the code, and `packets::` those of the workspace between real kernels.
//!
//! | point | tests |
//! |---|---|
//! | 1. checksums by RFC 1624, against full recomputation | `wire::rewrite::a_checksum_stays_as_wrong_as_it_was_through_any_changes`, `src::wire::checksum::a_difference_does_what_recomputing_does`, `forwarder_bijection::nothing_changes_but_the_ends_and_a_hop` |
//! | 1. UDP's none stays none, and a sum of none is sent as ones | `src::wire::checksum::{none_stays_none_in_both_families, a_sum_that_comes_out_as_none_is_sent_with_all_ones}` |
//! | 1. odd lengths; what is wrong stays wrong | `nat` ("a datagram and its answer, of odd length", "a wrong checksum stays wrong"), `icmp::an_error_about_a_tunnel_that_did_not_arrive_as_it_was_sent_is_not_made_right` |
//! | 1. echo replies whose sum wraps | `icmp::answers::an_echo_reply_is_right_for_every_value_of_the_checksum` (of the test `icmp`) |
//! | 2. errors carry another's packet | `icmp::every_error_goes_to_whom_it_is_about`, `icmp::errors_about_every_tunnel_become_errors_about_the_client_s_packet`, `fullnat::messages`, and of the test `icmp`: `eight_bytes_of_the_transport_are_enough_and_seven_are_not`, `no_error_answers_an_error_nor_icmp_that_is_not_known` |
//! | 3. path MTU with encapsulation | `icmp::a_packet_too_big_for_a_tunnel_is_told_what_fits_inside`, "IPv6: no MTU below 1280 is believed", `tunnel::what_is_too_big_and_may_not_be_cut_is_not_sent`, `packets::path` |
//! | 3. the segment size is lowered for the option that tells of the client, which goes only where it fits | `fullnat::toa` ("a segment that has no room for the option goes without, and is counted"), `src::method::fullnat::the_segment_size_is_lowered_in_both_halves_of_a_handshake_alone` |
//! | 4. fragments | `fragment::every_story_holds`, `fragment::fragments_go_through_a_tunnel_as_they_came`; bounds and overlaps: the test `fragments` |
//! | 5. TCP seen from one side | `life` ("one-sided: ..."), `direct_routing` |
//! | 5. blind RST and FIN | `sessions` ("a blind RST or FIN goes on to its end ..."), `life` ("a RST at each edge of the window", "a segment from outside of the window teaches nothing") |
//! | 5. a RST both ways at expiry | `sessions` ("both ends are told of a session that expires ..."), `tunnel::an_expired_session_is_reset_through_the_tunnel`, `fullnat::ends` |
//! | 6. FULLNAT's ports by backend end, without a lock, resting in TIME-WAIT, gone at once when exhausted | `fullnat::ports`, `src::method::fullnat::local_ports::{each_backend_end_has_every_port_once, no_port_is_taken_twice_nor_before_its_rest_is_over}`, and no two sessions share one: `walk` |
//! | 7. SYN proxy | `syn_proxy` (each of its rows), `src::syn_proxy::cookie`, `src::method::splice`; between two TCP stacks: the test `syn_proxy` |
//! | 8. the same 5-tuple again | `life` ("in TIME_WAIT a SYN begins anew ...", "elsewhere at once if that one drains", "a SYN that comes again ...", "both at once, in FINs that cross", "a RST or a FIN after the end ..."), `direct_routing` |
//! | 9. consistent placing through a double change | `placement::flows_stay_through_the_loss_of_a_node_and_a_change_of_the_pool_at_once`; order, weights and keys: lbcore's `hashing` and `previous_placement` |
//! | 10. sessions told to other nodes, as far as this crate goes: late, repeated and contrary news, sessions without a backend | `placement::sessions_are_told_and_taken_over`, `fullnat::copies`, `syn_proxy` ("other nodes, which cannot translate, are not told of it") |
//! | UDP mappings of 2 minutes and more, and their early end with the backend | `life` ("a datagram is remembered for 300 s ..."), `upkeep` ("a datagram of one who is gone ...") |
//! | QUIC by connection id | `quic::a_client_that_has_moved_stays_with_its_backend` |
//! | hops; ECN and code points of tunnels | `nat` ("the last hop is counted, both ways"), `tunnel` ("congestion and code point are copied"), `tunnel::outer::congestion_on_the_way_is_marked_on_what_comes_out` (of the test `tunnel`) |
//! | IPv6 extension headers | `src::wire::ipv6::extension_headers_are_walked_through_to_the_ports` |
//! | entropy of outer headers | `tunnel::many_flows_take_many_paths` |
//! | one packet at a time leaves no state | `sessions` ("each datagram by itself ..."), `limits` ("without sessions too") |
//! | what clients forge of their addresses is taken out | `fullnat::toa` ("what a client forges is taken out, and ours is put in") |
//!
//! What holds whatever happens is in the test `walk`.
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

mod direct_routing;

mod forged;
mod fragment;
mod fullnat;
mod harness;
mod icmp;
mod life;
mod limits;
mod line;
mod matching;
mod nat;
mod neighbour;
mod placement;
mod quic;
mod raw;
mod sessions;
mod syn_proxy;
mod tunnel;
mod updates;
mod upkeep;

/// The files of this folder, but for how rows are written.
fn tables(folder: &std::path::Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts.extend(tables(&path));
        } else if !path.ends_with("harness.rs") {
            texts.push(std::fs::read_to_string(path).unwrap());
        }
    }
    texts
}

/// A row is a packet that comes in and the verdict that is expected.
#[test]
fn there_are_rows_for_everything() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verdicts");
    let packets = |text: &String| {
        let lines = text.lines().map(str::trim_start);
        let opens = lines.filter(|it| {
            it.starts_with("In(") || it.starts_with("steps: &[In(") || it.starts_with("Comes(")
        });
        opens.count()
    };
    let rows: usize = tables(folder.as_ref()).iter().map(packets).sum();
    assert!(rows >= 600, "{rows} rows are left");
}
