//! The table of instance types, embedded: `data/instance_types.csv` says where each column is from.

use std::sync::LazyLock;

use crate::model::limits::{Hypervisor, InstanceType, NetworkCard};

const TABLE: &str = include_str!("../../../data/instance_types.csv");

static TYPES: LazyLock<Vec<InstanceType>> = LazyLock::new(|| {
    rows().map(|row| parse(row).unwrap_or_else(|| panic!("instance_types.csv: {row}"))).collect()
});

/// Every type the table has, by name.
pub fn all() -> &'static [InstanceType] {
    &TYPES
}

/// The type of that name, if it is known.
pub fn find(name: &str) -> Option<&'static InstanceType> {
    let at = TYPES.binary_search_by(|kind| kind.name.cmp(name)).ok()?;
    TYPES.get(at)
}

/// The lines with a type in them; the first one that is no comment names the columns.
fn rows() -> impl Iterator<Item = &'static str> {
    TABLE.lines().filter(|line| !line.starts_with('#')).skip(1)
}

/// One line; none if a column is missing or is not what it should be. Columns are split here and not
/// by a CSV reader, so that names stay slices of the embedded text.
fn parse(row: &'static str) -> Option<InstanceType> {
    let mut columns = row.split(',');
    let mut next = || columns.next();
    let kind = InstanceType {
        name: next()?,
        enis_max: at_least(next()?, 1)?,
        addresses_per_eni: at_least(next()?, 2)?,
        default_card: next()?.parse().ok()?,
        cards: cards(next()?.parse().ok()?, next()?)?,
        hypervisor: hypervisor(next()?)?,
        bare_metal: next()?.parse().ok()?,
        vcpus: at_least(next()?, 1)?,
        prefixes_supported: next()?.parse().ok()?,
        // The two columns of published maxima are what the formulas are tested against.
        branch_enis: optional(columns.nth(2)?)?,
        trunking: match columns.next()? {
            "" => None,
            word => Some(word.parse().ok()?),
        },
    };
    columns.next().is_none().then_some(kind)
}

fn at_least(word: &str, least: u32) -> Option<u32> {
    word.parse().ok().filter(|number| *number >= least)
}

/// An empty column is none; anything but a number is an error.
fn optional(word: &str) -> Option<Option<u32>> {
    if word.is_empty() { Some(None) } else { word.parse().ok().map(Some) }
}

fn hypervisor(word: &str) -> Option<Hypervisor> {
    [Hypervisor::Nitro, Hypervisor::Xen, Hypervisor::Unknown]
        .into_iter()
        .find(|hypervisor| hypervisor.name() == word)
}

/// As many cards as the column before says, each as `index:max`.
fn cards(count: usize, words: &str) -> Option<Vec<NetworkCard>> {
    let cards = words.split('|').map(card).collect::<Option<Vec<NetworkCard>>>()?;
    (cards.len() == count).then_some(cards)
}

fn card(word: &str) -> Option<NetworkCard> {
    let (index, enis_max) = word.split_once(':')?;
    Some(NetworkCard { index: index.parse().ok()?, enis_max: enis_max.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::settings::Mode;

    /// The columns of one line that hold a published maximum: with secondary addresses, with
    /// prefixes (empty where there are none).
    fn published(row: &'static str) -> (&'static str, &'static str, &'static str) {
        let columns: Vec<&str> = row.split(',').collect();
        (columns[0], columns[10], columns[11])
    }

    #[test]
    fn every_row_parses() {
        assert_eq!(all().len(), 1391);
    }

    #[test]
    fn types_are_in_order_and_named_once() {
        assert!(all().is_sorted_by(|one, next| one.name < next.name));
    }

    #[test]
    fn max_pods_of_every_type_equal_the_published_column_in_both_modes() {
        let mut with_prefixes = 0;
        for (name, sip, pd) in rows().map(published) {
            let kind = find(name).unwrap_or_else(|| panic!("{name} is not found"));
            assert_eq!(kind.pods_max(Mode::SecondaryIp, false).to_string(), sip, "{name}");
            assert_eq!(kind.prefixes_supported, !pd.is_empty(), "{name}");
            if kind.prefixes_supported {
                assert_eq!(kind.pods_max_uncapped(Mode::Prefix, false).to_string(), pd, "{name}");
                with_prefixes += 1;
            }
        }
        assert_eq!(with_prefixes, 1309);
    }

    #[test]
    fn the_limit_of_enis_is_the_default_cards() {
        for kind in all() {
            let card = kind.cards.iter().find(|card| card.index == kind.default_card);
            assert_eq!(card.map(|card| card.enis_max), Some(kind.enis_max), "{}", kind.name);
        }
    }

    #[test]
    fn prefixes_need_nitro_or_bare_metal() {
        for kind in all() {
            let able = kind.hypervisor == Hypervisor::Nitro || kind.bare_metal;
            assert_eq!(kind.prefixes_supported, able, "{}", kind.name);
        }
    }

    #[test]
    fn vcpus_are_aws_own() {
        let cases = [
            ("t2.nano", 1),
            ("t2.medium", 2),
            ("t3.nano", 2),
            ("m7g.medium", 1),
            ("m5.large", 2),
            ("c4.8xlarge", 36),
            ("d2.8xlarge", 36),
            ("c5.18xlarge", 72),
            ("hpc7a.96xlarge", 192),
            ("m2.4xlarge", 8),
            ("mac2.metal", 8),
            ("m5.metal", 96),
            ("i3en.metal", 96),
            ("p5.48xlarge", 192),
            ("u-12tb1.metal", 448),
        ];
        for (name, vcpus) in cases {
            assert_eq!(find(name).map(|kind| kind.vcpus), Some(vcpus), "{name}");
        }
    }

    #[test]
    fn what_is_no_row_is_none() {
        let good = "x1.large,3,10,0,1,0:3,nitro,false,2,true,29,434,9,true";
        assert!(parse(good).is_some());
        for bad in [
            "",
            "x1.large",
            "x1.large,0,10,0,1,0:3,nitro,false,2,true,29,434,9,true",
            "x1.large,3,1,0,1,0:3,nitro,false,2,true,29,434,9,true",
            "x1.large,3,10,0,2,0:3,nitro,false,2,true,29,434,9,true",
            "x1.large,3,10,0,1,0:3,kvm,false,2,true,29,434,9,true",
            "x1.large,3,10,0,1,0:3,nitro,false,2,true,29,434,nine,true",
            "x1.large,3,10,0,1,0:3,nitro,false,2,true,29,434,9,true,more",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_are_matched_exactly() {
        for name in ["", "m5", "M5.4XLARGE", "m5.4xlarge ", "#", "instance_type"] {
            assert_eq!(find(name), None, "{name}");
        }
    }
}
