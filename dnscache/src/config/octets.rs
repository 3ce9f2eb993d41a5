//! Sizes in octets: `67108864`, `64MiB`.

/// Reads a number with `KiB`, `MiB` or `GiB` after it or nothing. `None` for anything else and for
/// more than 64 bits hold.
pub fn parse(text: &str) -> Option<u64> {
    let digits_len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(digits_len);
    let factor = match unit {
        "" => 1_u64,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_two_to_the_ten() {
        for (text, expected) in [
            ("7", Some(7)),
            ("2KiB", Some(2_048)),
            ("64MiB", Some(64 << 20)),
            ("1GiB", Some(1 << 30)),
            ("1MB", None),
            ("MiB", None),
            ("-1", None),
            ("1.5MiB", None),
            ("99999999999999GiB", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
