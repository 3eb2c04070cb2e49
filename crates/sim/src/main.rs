//! Runs seeds, as many at a time as the machine has cores, and says which one failed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;

use clap::Parser;
use stonechat_sim::scenario;

/// Runs simulated worlds; each seed is one.
#[derive(Parser)]
struct Options {
    /// One seed.
    #[arg(long)]
    seed: Option<u64>,
    /// A range of seeds, the end not included.
    #[arg(long, value_parser = parse_range, default_value = "0..100")]
    seeds: std::ops::Range<u64>,
    /// What people do in each.
    #[arg(long, default_value_t = 60)]
    steps: usize,
}

fn parse_range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("write a range as 0..100")?;
    let number = |n: &str| n.parse::<u64>().map_err(|e| e.to_string());
    Ok(number(from)?..number(to)?)
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let seeds = options.seed.map_or(options.seeds.clone(), |seed| seed..seed + 1);
    let next = AtomicU64::new(seeds.start);
    let (ended, results) = channel();
    let (mut passed, mut failed) = (0_u64, Vec::new());
    let mut total = scenario::Report::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let (next, ended, end, steps) = (&next, ended.clone(), seeds.end, options.steps);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let outcome = std::panic::catch_unwind(|| scenario::run(seed, steps));
                    // The other end waits for all of us.
                    let _ = ended.send((seed, outcome));
                }
            });
        }
        drop(ended);
        for (seed, outcome) in results {
            match outcome {
                Ok(Ok(report)) => {
                    passed += 1;
                    total.sent += report.sent;
                    total.read += report.read;
                    total.steps += report.steps;
                    total.refused += report.refused;
                    total.breaches += report.breaches;
                    total.unnoticed += report.unnoticed;
                    if options.seed.is_some() {
                        println!("seed {seed}: digest of all frames {}", hex::encode(report.digest));
                    }
                }
                Ok(Err(violation)) => {
                    println!("seed {seed}: {violation}");
                    failed.push(seed);
                }
                Err(_) => {
                    println!("seed {seed}: panicked");
                    failed.push(seed);
                }
            }
            if (passed + failed.len() as u64).is_multiple_of(50) {
                println!("… {passed} seeds passed, {} failed", failed.len());
            }
        }
    });
    println!("{} messages sent, {} read, {} refusals, {} steps", total.sent, total.read, total.refused, total.steps);
    println!("{} commits that broke a rule, {} lies that nobody could notice", total.breaches, total.unnoticed);
    println!("{passed} passed, {} failed", failed.len());
    if let Some(seed) = failed.iter().min() {
        anyhow::bail!("repeat the first with: cargo xtask sim --seed {seed} --steps {}", options.steps);
    }
    Ok(())
}
