//! All fuzz targets over their seeds and a bounded number of changed inputs: the same ones each time, on a stable compiler.
#![expect(clippy::unwrap_used, reason = "a test stops where something is not as claimed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use stonechat_directory::{Evidence, Verdict};
use stonechat_fuzz::{TARGETS, Target, seeds};

#[test]
fn seeds_are_what_the_code_makes_and_each_is_read() {
    for target in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target.name);
        let made: BTreeMap<_, _> = (target.seeds)().into_iter().collect();
        if std::env::var_os("UPDATE_VECTORS").is_some() {
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            made.iter().for_each(|(name, bytes)| fs::write(folder.join(name), bytes).unwrap());
        }
        let kept = fs::read_dir(&folder).unwrap().map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        });
        assert!(kept.collect::<BTreeMap<_, _>>() == made, "{}: `cargo xtask vectors` rewrites the seeds", target.name);
        for (name, bytes) in &made {
            assert!((target.run)(bytes), "{}: {name} is not read", target.name);
        }
    }
}

fn smoke(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let mut read = 0;
    for (number, input) in changed(target).enumerate() {
        let begin = Instant::now();
        let hex = || input.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let run = std::panic::catch_unwind(|| (target.run)(&input));
        assert!(run.is_ok(), "{name}: changed input {number} breaks a promise: {}", hex());
        assert!(begin.elapsed() < INPUT_TIME_MAX, "{name}: changed input {number} takes too long: {}", hex());
        read += u32::from(run.unwrap());
    }
    // What is always turned away at the door tests the door only.
    println!("{name}: {read} of {} changed inputs were read", target.changed_inputs);
    assert!(
        read > target.changed_inputs / 1_000,
        "{name}: only {read} of {} changed inputs were read",
        target.changed_inputs
    );
}

macro_rules! smoke_runs {
    ($($name:ident)*) => {
        $(#[test] fn $name() { smoke(stringify!($name)); })*

        #[test]
        fn every_target_has_a_smoke_run() {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

smoke_runs! { client_frame server_frame log_record account_log content letter group_state note evidence append_only }

#[test]
fn no_change_of_harmless_evidence_proves_anything() {
    let harmless = || seeds::evidence().into_iter().filter(|(name, _)| name.starts_with("harmless")).collect();
    let target = Target { name: "harmless", run: |_| true, seeds: harmless, changed_inputs: 5_000 };
    for (_, bytes) in harmless() {
        let verdict = Evidence::from_json(&bytes).unwrap().judge();
        assert!(matches!(verdict, Ok(Verdict::Harmless(_))), "{verdict:?}");
    }
    for input in changed(&target) {
        let verdict = Evidence::from_json(&input).and_then(|evidence| evidence.judge());
        assert!(!matches!(verdict, Ok(Verdict::Proven(_))), "{}", String::from_utf8_lossy(&input));
    }
}

/// Seeds with one to four changes, the same each time.
fn changed(target: &Target) -> impl Iterator<Item = Vec<u8>> {
    let seeds: Vec<Vec<u8>> = (target.seeds)().into_iter().map(|(_, bytes)| bytes).collect();
    let mut seed = [0; 32];
    seed[..target.name.len()].copy_from_slice(target.name.as_bytes());
    let mut rng = ChaCha20Rng::from_seed(seed);
    (0..target.changed_inputs).map(move |_| {
        let mut input = pick(&mut rng, &seeds).clone();
        for _ in 0..=below(&mut rng, 4) {
            change(&mut rng, &mut input, &seeds);
        }
        input
    })
}

fn change(rng: &mut ChaCha20Rng, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    // Heads of CBOR that claim much, and the ends of ranges.
    const BYTES: [u8; 12] = [0x00, 0x01, 0x17, 0x18, 0x1b, 0x3b, 0x5b, 0x7f, 0x80, 0x9b, 0xbb, 0xff];
    let at = below(rng, input.len() + 1);
    let end = at + below(rng, (input.len() - at).min(64) + 1);
    match below(rng, 9) {
        0 => input.truncate(at),
        1 => drop(input.drain(at..end)),
        2 => input.insert(at, *pick(rng, &BYTES)),
        3 => {
            let piece = input[at..end].to_vec();
            let to = below(rng, input.len() + 1);
            input.splice(to..to, piece);
        }
        4 => {
            let other = pick(rng, seeds);
            let from = below(rng, other.len() + 1);
            let piece = other[from..(from + below(rng, 64)).min(other.len())].to_vec();
            input.splice(at..end, piece);
        }
        _ if at == input.len() => input.push(*pick(rng, &BYTES)),
        5 => input[at] = *pick(rng, &BYTES),
        6 => input[at] = input[at].wrapping_add(1),
        7 => input[at] = input[at].wrapping_sub(1),
        _ => input[at] ^= 1 << below(rng, 8),
    }
}

fn pick<'a, T>(rng: &mut ChaCha20Rng, from: &'a [T]) -> &'a T {
    &from[below(rng, from.len())]
}

fn below(rng: &mut ChaCha20Rng, bound: usize) -> usize {
    usize::try_from(rng.next_u32()).unwrap() % bound
}

/// A decoder that takes longer for a kilobyte is one that can be used to stop a client.
const INPUT_TIME_MAX: Duration = Duration::from_secs(5);
