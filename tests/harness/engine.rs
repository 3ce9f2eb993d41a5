//! An engine from a Corefile, assembled as the program does it but without opening anything.

use dnscache::config::environment::System;
use dnscache::config::{Origin, check::check, corefile};
use dnscache::engine::Engine;
use dnscache::engine::shelf::{Shelf, Surroundings};

/// The engine this Corefile makes, with empty stores.
pub fn assemble(text: &str) -> Result<Engine, String> {
    let blocks = corefile::parse("Corefile", text, &System).map_err(|e| e.to_string())?;
    let config = check(&blocks, Origin::BuiltIn, 53, &System).map_err(|e| e.to_string())?;
    let surroundings = Surroundings { host: "node.test".to_owned(), random: 7 };
    Ok(Shelf::default().assemble(&config, &surroundings))
}
