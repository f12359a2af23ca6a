//! Numbers as people read them.

/// A duration given in ns with three digits and its unit: `999 ns`, `1.23 ms`, `40.1 ms`, `12.3 s`,
/// `5 min 20 s`, `2 h 05 min`.
pub fn duration(ns: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
    const UNITS: [(u64, &str); 3] = [(SECOND, "s"), (1_000_000, "ms"), (1_000, "µs")];
    if ns < 1_000 {
        return format!("{ns} ns");
    }
    let seconds = ns / SECOND + u64::from(ns % SECOND >= SECOND / 2);
    if seconds >= 3600 {
        return format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60);
    }
    if seconds >= 100 {
        return format!("{} min {:02} s", seconds / 60, seconds % 60);
    }
    for (at, (unit, name)) in UNITS.iter().enumerate() {
        // 999.6 µs is 1.00 ms: what rounds up to a thousand belongs to the next unit.
        if ns as f64 / *unit as f64 >= 0.9995 || at == UNITS.len() - 1 {
            return format!("{} {name}", three_digits(ns as f64 / *unit as f64));
        }
    }
    format!("{ns} ns")
}

/// `1.23`, `40.1`, `999`.
fn three_digits(value: f64) -> String {
    if value < 9.995 {
        format!("{value:.2}")
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// A count with separators: `1,234,567`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count in at most six characters: `9,999`, `12.3k`, `4.56M`.
pub fn short_count(value: u64) -> String {
    match value {
        0..10_000 => count(value),
        10_000..999_500 => format!("{}k", three_digits(value as f64 / 1e3)),
        999_500..999_500_000 => format!("{}M", three_digits(value as f64 / 1e6)),
        _ => format!("{}G", three_digits(value as f64 / 1e9)),
    }
}

/// A share (0 to 1) as a percentage: `0%`, `<0.1%`, `3.7%`, `97%`, `100%`. Only what is whole reads as 100 %.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent <= 0.0 {
        "0%".into()
    } else if percent < 0.1 {
        "<0.1%".into()
    } else if percent < 9.95 {
        format!("{percent:.1}%")
    } else if (99.5..100.0).contains(&percent) {
        ">99%".into()
    } else {
        format!("{percent:.0}%")
    }
}

/// `1 thread`, `2 threads`.
pub fn plural(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        for (ns, want) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (1_234, "1.23 µs"),
            (999_499, "999 µs"),
            (999_600, "1.00 ms"),
            (40_100_000, "40.1 ms"),
            (123_456_789, "123 ms"),
            (12_345_678_901, "12.3 s"),
            (99_400_000_000, "99.4 s"),
            (320_000_000_000, "5 min 20 s"),
            (7_500_000_000_000, "2 h 05 min"),
            (u64::MAX, "5124095 h 34 min"),
        ] {
            assert_eq!(duration(ns), want);
        }
    }

    #[test]
    fn counts_and_shares() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(12), "12");
        assert_eq!(
            [9_999, 12_345, 999_499, 999_999, 4_560_000].map(short_count),
            ["9,999", "12.3k", "999k", "1.00M", "4.56M"]
        );
        assert_eq!([0.0, 0.0001, 0.037, 0.5, 0.999, 1.0].map(percent), ["0%", "<0.1%", "3.7%", "50%", ">99%", "100%"]);
        assert_eq!(plural(1, "lock", "locks"), "1 lock");
    }
}
