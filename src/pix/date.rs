//! Days and times of day as Brazil writes and says them.

const MONTHS: [&str; 12] = ["janeiro", "fevereiro", "março", "abril", "maio", "junho", "julho", "agosto", "setembro", "outubro", "novembro", "dezembro"];

/// Whether the calendar has this day; years 1 to 9999 only.
pub fn is_date(year: i16, month: u8, day: u8) -> bool {
    (1..=9999).contains(&year)
        && i8::try_from(month).ok().zip(i8::try_from(day).ok()).is_some_and(|(month, day)| jiff::civil::Date::new(year, month, day).is_ok())
}

/// `05/12/2025`. The day is one of the calendar ([`is_date`]).
pub fn date(year: i16, month: u8, day: u8) -> String {
    format!("{day:02}/{month:02}/{year:04}")
}

/// `05/12`. The day is one of the calendar ([`is_date`]).
pub fn day_month(month: u8, day: u8) -> String {
    format!("{day:02}/{month:02}")
}

/// `5 de dezembro`, or `1º de maio`, for a voice; nothing where there is no such month.
pub fn date_spoken(month: u8, day: u8) -> String {
    let ordinal = if day == 1 { "º" } else { "" };
    let month = usize::from(month).checked_sub(1).and_then(|index| MONTHS.get(index));
    month.map(|month| format!("{day}{ordinal} de {month}")).unwrap_or_default()
}

/// `14:32`.
pub fn time(hour: u8, minute: u8) -> String {
    format!("{hour:02}:{minute:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_written_day_first_and_said_in_words() {
        assert_eq!(date(2025, 12, 5), "05/12/2025");
        assert_eq!(day_month(1, 31), "31/01");
        assert_eq!(time(7, 5), "07:05");
        assert_eq!(date_spoken(3, 1), "1º de março");
        assert_eq!(date_spoken(12, 25), "25 de dezembro");
        assert_eq!(date_spoken(13, 1), "");
    }

    #[test]
    fn only_days_of_the_calendar_are_days() {
        assert!(is_date(2024, 2, 29));
        for (year, month, day) in [(2025, 2, 29), (2025, 13, 1), (2025, 0, 1), (2025, 4, 31), (0, 1, 1), (2025, 255, 255)] {
            assert!(!is_date(year, month, day), "{year} {month} {day}");
        }
    }
}
