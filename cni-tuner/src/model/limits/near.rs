//! Which instance types a name that is none was probably meant to be.

use crate::model::limits::{InstanceType, all, split};

/// How many names a suggestion has at most.
const NAMES_MAX: usize = 5;

/// Past this much difference a suggestion would be a guess. A wrong letter in the family counts two,
/// one in the size counts one.
const DIFFERENCE_MAX: usize = 4;

/// The types nearest to a name; empty if none is near. For a family alone, its types.
pub fn suggest(name: &str) -> Vec<&'static str> {
    let meant = name.trim().to_ascii_lowercase();
    let of_family = all().iter().filter(|kind| kind.family() == meant);
    let nearest = sorted(of_family.map(|kind| (0, kind)).collect(), &meant);
    if !nearest.is_empty() {
        return nearest;
    }
    let near = all()
        .iter()
        .map(|kind| (difference(&meant, kind), kind))
        .filter(|(difference, _)| *difference <= DIFFERENCE_MAX)
        .collect();
    sorted(near, &meant)
}

/// The nearest of them, by how near their size is, then by name.
fn sorted(mut near: Vec<(usize, &'static InstanceType)>, meant: &str) -> Vec<&'static str> {
    let size = size_of(split(meant).1);
    near.sort_by_key(|(difference, kind)| {
        (*difference, size_of(kind.size()).abs_diff(size), kind.name)
    });
    let nearest = near.first().map(|(difference, _)| *difference);
    near.retain(|(difference, _)| Some(*difference) == nearest);
    near.iter().take(NAMES_MAX).map(|(_, kind)| kind.name).collect()
}

fn difference(meant: &str, kind: &InstanceType) -> usize {
    let Some((family, size)) = meant.split_once('.') else {
        // The dot is missing, or another sign stands for it.
        return strsim::osa_distance(&letters(meant), &letters(kind.name)) * 2;
    };
    strsim::osa_distance(family, kind.family()) * 2 + difference_of_sizes(size, kind.size())
}

/// A name without its dot, or whatever stands for it.
fn letters(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// Letters apart; one if both are a number of `xlarge`, since any other number may have been meant.
fn difference_of_sizes(meant: &str, size: &str) -> usize {
    match (multiple(meant), multiple(size)) {
        (Some(meant), Some(size)) => usize::from(meant != size),
        _ => strsim::osa_distance(meant, size),
    }
}

/// 4 of `4xlarge`.
fn multiple(size: &str) -> Option<u32> {
    size.strip_suffix("xlarge")?.parse().ok()
}

/// A size as a number to compare, 0 if it says none.
fn size_of(size: &str) -> u32 {
    if size == "xlarge" { 1 } else { multiple(size).unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, first: &[&str]) {
        let names = suggest(name);
        assert!(names.starts_with(first), "{name}: {names:?}");
        assert!(names.len() <= NAMES_MAX, "{name}: {names:?}");
    }

    #[test]
    fn a_size_the_family_does_not_have_gives_its_neighbours() {
        check("m5.5xlarge", &["m5.4xlarge", "m5.2xlarge"]);
        check("m5.32xlarge", &["m5.24xlarge", "m5.16xlarge"]);
        check("c5.8xlarge", &["c5.9xlarge"]);
    }

    #[test]
    fn letters_in_the_wrong_order_are_put_right() {
        check("m5.4xalrge", &["m5.4xlarge"]);
        check("m5.2xlrage", &["m5.2xlarge"]);
    }

    #[test]
    fn another_sign_for_the_dot_or_none_is_put_right() {
        check("m5-4xlarge", &["m5.4xlarge"]);
        check("m54xlarge", &["m5.4xlarge"]);
    }

    #[test]
    fn capitals_and_blanks_do_not_matter() {
        check(" M5.4XLARGE ", &["m5.4xlarge"]);
    }

    #[test]
    fn a_family_gives_its_types() {
        check("m5", &["m5.large"]);
    }

    #[test]
    fn a_family_that_is_not_there_gives_like_ones_of_that_size() {
        check("m55.4xlarge", &["m5.4xlarge", "m5a.4xlarge"]);
    }

    #[test]
    fn nonsense_gives_nothing() {
        for name in ["", "banana", "Standard_D4s_v3", "n2-standard-8"] {
            check(name, &[]);
            assert!(suggest(name).is_empty(), "{name}: {:?}", suggest(name));
        }
    }
}
