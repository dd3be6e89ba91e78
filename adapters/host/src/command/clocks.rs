//! This machine's clock beside the hub's: who is too far off is refused, and not told why before its first request.

use std::time::Duration;
use yiwang_adapter_sdk::check::{Finding, Severity};
use yiwang_proto::limits::CLOCK_SKEW_MS;

/// From here on it deserves a word: a clock that is set by nobody gains or loses as much in some months.
const DOUBTFUL_MS: i64 = CLOCK_SKEW_MS / 4;

const HELP: &str = "let a time service set the clock, chrony or systemd-timesyncd: `timedatectl` says whether it is synchronized; \
                    if this one is right, tell the hub's operator";

/// How the clocks stand to each other: the hub's said `hub_ms` between `asked_ms` and `told_ms` of the own one.
pub(super) fn compare(asked_ms: i64, hub_ms: i64, told_ms: i64) -> Finding {
    // The answer's way takes time that nobody knows: what lies within it is no difference.
    let (ahead, behind) = (asked_ms.saturating_sub(hub_ms), hub_ms.saturating_sub(told_ms));
    let off = ahead.max(behind).max(0);
    let within = seconds(told_ms.saturating_sub(asked_ms).max(0));
    let message = match (off, ahead > behind) {
        (0, _) => format!("this machine's clock is the hub's, as far as an answer within {within} tells"),
        (_, true) => format!("this machine's clock is {} ahead of the hub's", seconds(off)),
        (_, false) => format!("this machine's clock is {} behind the hub's", seconds(off)),
    };
    if off <= DOUBTFUL_MS {
        return Finding::new(Severity::Note, "", message);
    }
    let limit = format!("{} s", CLOCK_SKEW_MS / 1000);
    let (severity, follows) = if off > CLOCK_SKEW_MS {
        (Severity::Error, format!("over {limit} requests, answers and standings are refused"))
    } else {
        (Severity::Warning, format!("up to {limit} is tolerated"))
    };
    Finding::new(severity, "", format!("{message}; {follows}")).help(HELP)
}

fn seconds(ms: i64) -> String {
    format!("{:.1} s", Duration::from_millis(ms.unsigned_abs()).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_392_000_000;

    #[test]
    fn a_difference_is_told_by_what_it_costs() {
        for (off, severity, told) in [
            (0, Severity::Note, "this machine's clock is the hub's, as far as an answer within 0.2 s tells"),
            (7_500, Severity::Note, "this machine's clock is 7.5 s ahead of the hub's"),
            (7_501, Severity::Warning, "is 7.5 s ahead of the hub's; up to 30 s is tolerated"),
            (30_000, Severity::Warning, "is 30.0 s ahead of the hub's; up to 30 s is tolerated"),
            (
                30_001,
                Severity::Error,
                "30.0 s ahead of the hub's; over 30 s requests, answers and standings are",
            ),
            (-7_500, Severity::Note, "this machine's clock is 7.5 s behind the hub's"),
            (-7_501, Severity::Warning, "is 7.5 s behind the hub's; up to 30 s is tolerated"),
            (
                -90_000,
                Severity::Error,
                "is 90.0 s behind the hub's; over 30 s requests, answers and standings are",
            ),
        ] {
            // The hub's moment lies as far as it can from the own time of asking and of the answer.
            let hub = if off < 0 { NOW + 200 - off } else { NOW - off };
            let finding = compare(NOW, hub, NOW + 200);
            assert_eq!(finding.severity, severity, "{off}");
            assert!(finding.message.contains(told), "{off}: {}", finding.message);
            assert_eq!(finding.help.is_some(), severity != Severity::Note, "{off}");
        }
    }

    #[test]
    fn what_the_answers_way_took_is_no_difference() {
        for hub in [NOW, NOW + 4_000, NOW + 9_000] {
            let finding = compare(NOW, hub, NOW + 9_000);
            assert_eq!(finding.severity, Severity::Note);
            assert!(finding.message.ends_with("an answer within 9.0 s tells"), "{}", finding.message);
        }
        // A clock that was set back while the hub answered, and times that nobody has.
        assert_eq!(compare(NOW, NOW, NOW - 60_000).severity, Severity::Error);
        assert_eq!(compare(i64::MIN, i64::MAX, i64::MIN).severity, Severity::Error);
    }
}
