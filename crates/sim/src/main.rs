//! Runs seeds and says which one failed.

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
    let seeds = options.seed.map_or(options.seeds, |seed| seed..seed + 1);
    let (mut passed, mut failed) = (0_u64, Vec::new());
    let mut total = scenario::Report::default();
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| scenario::run(seed, options.steps));
        match outcome {
            Ok(Ok(report)) => {
                passed += 1;
                total.sent += report.sent;
                total.read += report.read;
                total.steps += report.steps;
                total.refused += report.refused;
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
    println!("{} messages sent, {} read, {} refusals, {} steps", total.sent, total.read, total.refused, total.steps);
    println!("{passed} passed, {} failed", failed.len());
    if let Some(seed) = failed.first() {
        anyhow::bail!("repeat the first with: cargo xtask sim --seed {seed} --steps {}", options.steps);
    }
    Ok(())
}
