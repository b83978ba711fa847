//! What tools of operators see of the path, and what a path that narrows does.

use harness::lan;

use crate::checks::Family;
use crate::rig::{Rig, WEB};

impl Rig {
    #[track_caller]
    pub(crate) fn the_address_answers_ping(&self, family: Family) {
        let vip = family.vip(0).ip();
        let ping = format!("-c 3 -i 0.2 -W 5 {vip}");
        let text = self.lan.client.run("ping", &ping);
        assert!(text.contains(" 0% packet loss"), "{text}");
    }

    /// The client's own tools find the router, and then the address itself.
    #[track_caller]
    pub(crate) fn the_path_is_traced(&self, family: Family) {
        let vip = family.vip(0).ip().to_string();
        let (flag, router) = match family {
            Family::V4 => ("-4", "198.51.100.1"),
            Family::V6 => ("-6", "2001:db8:1::1"),
        };
        for how in [String::new(), "-I".to_owned(), format!("-T -p {WEB}")] {
            let words = format!("{flag} -n -q 1 -w 2 -m 6 {how} {vip}");
            let text = self.lan.client.run("traceroute", &words);
            let hops: Vec<_> = text.lines().skip(1).collect();
            let [first, .., last] = hops.as_slice() else {
                panic!("{words}: {text}");
            };
            assert!(first.contains(router) && last.contains(&vip), "{text}");
        }
        let words = format!("{flag} -n -m 6 {vip}");
        let text = self.lan.client.run("tracepath", &words);
        let widest = 1_500 - self.setting.method.overhead();
        let found = format!("Resume: pmtu {widest} hops ");
        assert!(text.contains(router) && text.contains(&found), "{text}");
    }

    /// Complaints of the router reach the server that sent too much.
    #[track_caller]
    pub(crate) fn no_black_hole_where_the_path_narrows(&self, family: Family) {
        let name = match family {
            Family::V4 => "OutDestUnreachs",
            Family::V6 => "Icmp6OutPktTooBigs",
        };
        let before = lan::counted(&self.lan.router, name);
        self.a_large_file_arrives_whole(family);
        self.a_stream_comes_back_whole(family, 1 << 20);
        let complaints = lan::counted(&self.lan.router, name) - before;
        assert!(complaints > 0, "nothing was too big for {family:?}");
    }
}
