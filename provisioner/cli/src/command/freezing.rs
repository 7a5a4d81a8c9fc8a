//! What says who freezes a guest for the moment of a point in time: the same words of a backup, a
//! capture and a schedule.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::text;

/// Who freezes the guest, and whether that has to be.
#[derive(Debug, Args)]
pub struct FreezeArguments {
    /// Have this instance's guest-agent freeze the guest's file systems for the moment
    #[arg(long, value_name = "NAME", group = "freezer")]
    pub instance: Option<String>,
    /// Have qemu-ga do so, by the socket of its serial port in this QEMU
    #[arg(long, value_name = "SOCKET", group = "freezer")]
    pub guest_agent: Option<PathBuf>,
    /// Fail where the guest could not be frozen: nothing is made then
    #[arg(long, requires = "freezer")]
    pub require_consistent: bool,
    /// How long the guest may be frozen, up to 1m [default: 10s]
    #[arg(long, value_name = "TIME", requires = "freezer", value_parser = text::duration)]
    pub freeze_within: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::command::CommandLine;

    fn is_good(words: &str) -> bool {
        let all = ["mezame", "-p", "a"].into_iter().chain(words.split(' '));
        CommandLine::try_parse_from(all).is_ok()
    }

    #[test]
    fn one_agent_is_named_where_a_guest_runs_and_the_rest_is_about_it() {
        let schedule = "backup schedule create s web --when 02:30 --qmp /q";
        let capture = "volume capture web --name n --qmp /q";
        for command in ["backup create web --qmp /q", schedule, capture] {
            for (words, good) in [
                ("--instance web", true),
                ("--guest-agent /a --require-consistent --freeze-within 5s", true),
                ("--instance web --guest-agent /a", false),
                ("--require-consistent", false),
                ("--freeze-within 5s", false),
                ("--instance web --freeze-within soon", false),
            ] {
                assert_eq!(is_good(&format!("{command} {words}")), good, "{command} {words}");
            }
        }
        assert!(is_good("volume capture web --name n --instance web"));
    }
}
