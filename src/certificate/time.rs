//! `Time` (RFC 5280 section 4.1.2.5) from 1950 on, and times as people read them.

use der::{Tag, Tagged};

use super::Malformed;
use super::reader::Values;

const SECONDS_A_DAY: i64 = 86_400;
/// From 0000-03-01, with which the calendar begins here, to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;
const DAYS_IN_400_YEARS: i64 = 146_097;
/// RFC 5280 has a two-digit year begin then, and no certificate is older.
const FIRST_YEAR: i64 = 1950;

/// `Time`, as seconds since 1970, which are fewer than none before.
pub fn seconds(fields: &mut Values<'_>) -> Result<i64, Malformed> {
    let time = fields.any()?;
    numbers(time.tag(), time.value()).and_then(since_1970).ok_or(Malformed::Time)
}

/// Year, month, day, hour, minute and second, which are all there, in Greenwich's time and without fractions.
fn numbers(tag: Tag, text: &[u8]) -> Option<[i64; 6]> {
    let (pairs, []) = text.strip_suffix(b"Z")?.as_chunks::<2>() else {
        return None;
    };
    let digit = |digit: u8| char::from(digit).to_digit(10).map(i64::from);
    let pairs = pairs.iter().map(|[ten, one]| Some(10 * digit(*ten)? + digit(*one)?)).collect::<Option<Vec<i64>>>()?;
    let (year, rest) = match (tag, pairs.as_slice()) {
        (Tag::UtcTime, [year, rest @ ..]) if *year < 50 => (2000 + year, rest),
        (Tag::UtcTime, [year, rest @ ..]) => (1900 + year, rest),
        (Tag::GeneralizedTime, [century, year, rest @ ..]) => (100 * century + year, rest),
        _ => return None,
    };
    let [month, day, hour, minute, second] = *rest else {
        return None;
    };
    Some([year, month, day, hour, minute, second])
}

fn since_1970([year, month, day, hour, minute, second]: [i64; 6]) -> Option<i64> {
    let days = days(year, month, day);
    // The 31st of February is a day in March.
    let is_date = year >= FIRST_YEAR && (1..=12).contains(&month) && date(days) == (year, month, day);
    (is_date && hour < 24 && minute < 60 && second < 60)
        .then(|| days * SECONDS_A_DAY + hour * 3600 + minute * 60 + second)
}

/// Days since 1970. The year begins with March, so that the day that not every year has is its last one.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let years = if month > 2 { year } else { year - 1 };
    let months = (month + 9) % 12;
    let days = (153 * months + 2) / 5 + day - 1;
    years * 365 + years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400) + days - DAYS_TO_1970
}

/// The date of a day since 1970.
const fn date(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_1970;
    let (era, day) = (days.div_euclid(DAYS_IN_400_YEARS), days.rem_euclid(DAYS_IN_400_YEARS));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let months = (5 * day + 2) / 153;
    let month = if months < 10 { months + 3 } else { months - 9 };
    let year = era * 400 + year + if month <= 2 { 1 } else { 0 };
    (year, month, day - (153 * months + 2) / 5 + 1)
}

/// Seconds since 1970 as RFC 3339 has them.
pub fn written(seconds: i64) -> String {
    let (year, month, day) = date(seconds.div_euclid(SECONDS_A_DAY));
    let time = seconds.rem_euclid(SECONDS_A_DAY);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use ::time::OffsetDateTime;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_from_1950_to_9999_as_rfc_5280_writes_them() {
        for (tag, text, expected) in [
            (Tag::UtcTime, "700101000000Z", Some("1970-01-01T00:00:00Z")),
            (Tag::UtcTime, "691231235959Z", Some("1969-12-31T23:59:59Z")),
            (Tag::UtcTime, "500101000000Z", Some("1950-01-01T00:00:00Z")),
            (Tag::UtcTime, "491231235959Z", Some("2049-12-31T23:59:59Z")),
            (Tag::UtcTime, "000229120000Z", Some("2000-02-29T12:00:00Z")),
            (Tag::GeneralizedTime, "19500101000000Z", Some("1950-01-01T00:00:00Z")),
            (Tag::GeneralizedTime, "20500101000000Z", Some("2050-01-01T00:00:00Z")),
            (Tag::GeneralizedTime, "99991231235959Z", Some("9999-12-31T23:59:59Z")),
            (Tag::GeneralizedTime, "19491231235959Z", None),
            (Tag::GeneralizedTime, "00000101000000Z", None),
            (Tag::GeneralizedTime, "21000229000000Z", None),
            (Tag::UtcTime, "270229000000Z", None),
            (Tag::UtcTime, "270431000000Z", None),
            (Tag::UtcTime, "270100000000Z", None),
            (Tag::UtcTime, "270001000000Z", None),
            (Tag::UtcTime, "271301000000Z", None),
            (Tag::UtcTime, "270115240000Z", None),
            (Tag::UtcTime, "270115086000Z", None),
            (Tag::UtcTime, "270115080060Z", None),
            (Tag::UtcTime, "2701150800Z", None),
            (Tag::UtcTime, "270115080000", None),
            (Tag::UtcTime, "270115080000z", None),
            (Tag::UtcTime, "270115080000+0000", None),
            (Tag::UtcTime, "+70115080000Z", None),
            (Tag::UtcTime, "2701150800001Z", None),
            (Tag::UtcTime, "20270115080000Z", None),
            (Tag::GeneralizedTime, "270115080000Z", None),
            (Tag::GeneralizedTime, "20270115080000.5Z", None),
            (Tag::OctetString, "20270115080000Z", None),
            (Tag::UtcTime, "", None),
        ] {
            let read = numbers(tag, text.as_bytes()).and_then(since_1970).map(written);
            assert_eq!(read.as_deref(), expected, "{tag} {text}");
        }
    }

    proptest! {
        #[test]
        fn every_second_of_a_thousand_years_is_the_one_of_another_calendar(seconds in -631_152_000_i64..30_000_000_000) {
            let other = OffsetDateTime::from_unix_timestamp(seconds).unwrap();
            let ((year, month, day), (hour, minute, second)) = (other.to_calendar_date(), other.to_hms());
            let other = format!("{year}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", u8::from(month));
            prop_assert_eq!(written(seconds), other.clone());
            let digits: String = other.chars().filter(char::is_ascii_digit).collect();
            let read = numbers(Tag::GeneralizedTime, format!("{digits}Z").as_bytes()).and_then(since_1970);
            prop_assert_eq!(read, Some(seconds));
        }
    }
}
