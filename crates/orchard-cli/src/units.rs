//! Sizes and counts as people write them.

/// Bytes of `512MiB`, `1GB` or `1000`; `None` if the text is no size.
pub fn parse_size_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let factor: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// `1536` as `1.5 KiB`.
pub fn format_size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    let mut unit = "B";
    for next in units {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") }
}

/// `1 entry`, `2 entries`.
pub fn format_entries(count: u64) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("1000", Some(1_000)),
            ("512MiB", Some(512 << 20)),
            ("512 mib", Some(512 << 20)),
            ("1GB", Some(1_000_000_000)),
            ("", None),
            ("MiB", None),
            ("1.5GiB", None),
            ("512M", None),
            ("-1", None),
            ("99999999999999TiB", None),
        ] {
            assert_eq!(parse_size_bytes(text), bytes, "{text}");
        }
        assert_eq!(format_size(1_023), "1023 B");
        assert_eq!(format_size(1_536), "1.5 KiB");
        assert_eq!(format_size(5 << 40), "5.0 TiB");
    }
}
