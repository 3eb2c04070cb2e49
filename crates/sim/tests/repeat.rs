//! A seed is a whole run: whoever has it sees the same frames in the same order, with the same bytes.

use stonechat_sim::scenario;

#[test]
fn a_seed_gives_the_same_frames_every_time() {
    // Faults of network and disk; a hostile server; a hostile member.
    for seed in [1, 12, 17] {
        // In threads of their own: what the standard library's hash maps do differs between them.
        let run = || std::thread::spawn(move || scenario::run(seed, 40).unwrap());
        let (one, other) = (run(), run());
        let (one, other) = (one.join().unwrap(), other.join().unwrap());
        assert_eq!(one, other, "seed {seed}");
        assert!(one.sent > 0 && one.read > 0, "seed {seed} did nothing");
    }
    assert_ne!(scenario::run(1, 10).unwrap().digest, scenario::run(2, 10).unwrap().digest);
}
