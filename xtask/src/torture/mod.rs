//! Tortures one store: a registry and a disk that fail, kills, collections and hostile images, in several processes.
//!
//! After every round the store holds only artifacts that equal the oracle's: what a cold build of the same image with the
//! same agent makes in an empty place. The seed decides the sequence, so a failure can be repeated; only the moment at which
//! a signal arrives differs.

mod images;
mod plan;
mod process;
mod random;
mod world;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::span;
use crate::tally::Tally;
use plan::Round;
use random::Random;
use world::{AGENTS, World};

/// How long the store is tortured, and by which sequence.
#[derive(Debug, Clone, clap::Args)]
pub struct TortureOptions {
    /// How long to go on, with s, m or h
    #[arg(long = "for", default_value = "1m", value_name = "TIME", value_parser = span::parse)]
    pub time: Duration,
    /// Seed of the sequence [default: by the clock]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// Tortures a store in a temporary directory.
///
/// # Errors
///
/// A promise is broken. The error names the seed and the round, and the sequence is on the screen.
pub fn torture(options: &TortureOptions) -> Result<()> {
    let seed = match options.seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let mut world = World::new(&mut random)?;
    let rounds = match rounds(&mut world, &mut random, options.time) {
        Ok(rounds) => rounds,
        Err(error) => {
            println!("the store is kept in {}", world.keep().display());
            return Err(error.context(format!(
                "seed {seed}; repeat it with: cargo xtask torture --seed {seed} --for {}s",
                options.time.as_secs()
            )));
        }
    };
    println!(
        "{rounds} rounds, {} processes, {} killed; the most memory of one was {} KiB",
        world.processes, world.killed, world.peak
    );
    Ok(())
}

/// Returns the number of rounds.
fn rounds(world: &mut World, random: &mut Random, time: Duration) -> Result<u64> {
    let start = Instant::now();
    let mut round = 0;
    while start.elapsed() < time {
        round += 1;
        let plan = Round::choose(random, world.images.len(), AGENTS);
        println!("round {round}:{plan}");
        world
            .take(&plan)
            .with_context(|| format!("round {round}"))?;
    }
    world
        .end()
        .with_context(|| format!("after round {round}"))?;
    Ok(round)
}

/// Tortures as one test.
pub(crate) fn run(time: Duration) -> Result<Tally> {
    if time.is_zero() {
        println!("NOT tortured: the time is 0 seconds");
        return Ok(Tally::default());
    }
    torture(&TortureOptions { time, seed: None })?;
    Ok(Tally::passed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_sequence() {
        let sequence = |seed| {
            let mut random = Random::new(seed);
            let rounds = (0..50).map(|_| Round::choose(&mut random, 9, AGENTS).to_string());
            rounds.collect::<String>()
        };
        assert_eq!(sequence(7), sequence(7));
        assert_ne!(sequence(7), sequence(8));
    }
}
