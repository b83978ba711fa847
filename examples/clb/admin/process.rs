//! What every program of clb shows of itself.

use super::page::{Figure, Kind, Page};
use super::snapshot::{Process, Reloads};

/// What every program of clb shows of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Common {
    pub(super) version: &'static str,
    pub(super) started: f64,
    pub(super) draining: bool,
    pub(super) reloads: Reloads,
    pub(super) process: Process,
}

impl Common {
    pub(super) fn render(&self, page: &mut Page) {
        let (gauge, counter) = (Kind::Gauge, Kind::Counter);
        let process = &self.process;
        let figures = [
            (
                "process_start_time_seconds",
                gauge,
                "When the process started, since 1970.",
                Figure::Real(self.started),
            ),
            (
                "process_cpu_seconds_total",
                counter,
                "User and system time of all threads.",
                Figure::Real(process.cpu_seconds),
            ),
            (
                "process_resident_memory_bytes",
                gauge,
                "Memory in RAM.",
                Figure::Count(process.resident_bytes),
            ),
            (
                "process_open_fds",
                gauge,
                "Open descriptors.",
                Figure::Count(process.open_fds),
            ),
            (
                "process_max_fds",
                gauge,
                "The most descriptors that may be open.",
                Figure::Count(process.max_fds),
            ),
            (
                "clb_draining",
                gauge,
                "Whether the process takes no new session.",
                Figure::flag(self.draining),
            ),
        ];
        for (name, kind, help, figure) in figures {
            page.single(name, kind, help, figure);
        }
        let build = [([("version", self.version)], Figure::Count(1))];
        let help = "The version, as a label of a constant 1.";
        page.family("clb_build_info", gauge, help, build);
        let reloads = [
            ("applied", self.reloads.applied),
            ("refused", self.reloads.refused),
        ];
        let reloads = reloads.map(|(result, count)| ([("result", result)], Figure::Count(count)));
        let help = "Times the file was read again.";
        page.family("clb_config_reloads_total", counter, help, reloads);
    }
}
