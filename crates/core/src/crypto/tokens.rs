//! Anonymous tokens, the client's side: RFC 9497, mode VOPRF, suite ristretto255-SHA512.
//!
//! A token is a random input of 32 bytes and the server's PRF of it (64 bytes). The server evaluates blinded elements for
//! an account and later sees inputs and outputs from nobody in particular: it cannot tell which it issued to whom. The
//! DLEQ proof over the batch shows that it used the key that it announces to everybody, so it cannot mark anyone's tokens
//! with a key of their own.
//!
//! The server does, with the same `voprf` crate and `type Suite = voprf::Ristretto255`:
//!
//! 1. once: `VoprfServer::<Suite>::new_from_seed(&seed, b"stonechat v1 token key")`; announces
//!    `Ristretto255::serialize_elem(server.get_public_key())`, 32 bytes;
//! 2. to issue: each element through `BlindedElement::<Suite>::deserialize` (refuses the identity and what is not
//!    canonical), all in order through `server.batch_blind_evaluate(rng, &blinded)`; answers each `messages[i].serialize()`
//!    and `proof.serialize()`, which is the scalars `c || s`, 64 bytes;
//! 3. to redeem: `server.evaluate(&token.nonce)` must equal `token.output`, compared in constant time, and the nonce must
//!    not have been spent.
//!
//! The blinding lives in memory only: a restart forgets tokens that were asked for and not yet answered, and asks again.

use rand_core::{CryptoRng, RngCore};
use stonechat_wire::Token;
use stonechat_wire::message::Element;
use voprf::{EvaluationElement, Group, Proof, Ristretto255, VoprfClient};

/// What it takes to finish tokens that were asked for. Secret: whoever has it links the tokens to the request.
pub struct Blinding {
    nonces: Vec<[u8; 32]>,
    clients: Vec<VoprfClient<Ristretto255>>,
}

impl std::fmt::Debug for Blinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blinding({} tokens)", self.nonces.len())
    }
}

/// Why the server's answer gives no tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not one element for each that was sent.
    #[error("the server evaluated {found} elements of {expected}")]
    Count {
        /// How many were sent.
        expected: usize,
        /// How many came back.
        found: usize,
    },
    /// The key, an element or the proof is not a valid encoding.
    #[error("the server's answer is malformed")]
    Malformed,
    /// The proof is not for the announced key.
    #[error("the server did not use the key that it announces to everybody")]
    OtherKey,
}

/// Blinds `n` random inputs, for one [`stonechat_wire::Request::IssueTokens`]: at most
/// [`stonechat_wire::limits::TOKENS_PER_REQUEST_MAX`].
pub fn blind(rng: &mut (impl RngCore + CryptoRng + ?Sized), n: usize) -> (Vec<Element>, Blinding) {
    let mut elements = Vec::with_capacity(n);
    let mut blinding = Blinding { nonces: Vec::with_capacity(n), clients: Vec::with_capacity(n) };
    for _ in 0..n {
        let mut nonce = [0; 32];
        rng.fill_bytes(&mut nonce);
        let blinded = VoprfClient::<Ristretto255>::blind(&nonce, &mut &mut *rng)
            .expect("fails for inputs that are empty, over 64 KiB or a preimage of the identity");
        elements.push(Element(blinded.message.serialize().into()));
        blinding.nonces.push(nonce);
        blinding.clients.push(blinded.state);
    }
    (elements, blinding)
}

/// Checks the server's answer against its announced key and unblinds it: all tokens or none.
///
/// # Errors
/// [`TokenError`]: the server misbehaves.
#[expect(clippy::needless_pass_by_value, reason = "a blinding is used once")]
pub fn finish(
    blinding: Blinding,
    token_key: &[u8; 32],
    evaluated: &[Element],
    proof: &[u8; 64],
) -> Result<Vec<Token>, TokenError> {
    let expected = blinding.clients.len();
    if evaluated.len() != expected {
        return Err(TokenError::Count { expected, found: evaluated.len() });
    }
    let key = Ristretto255::deserialize_elem(token_key).map_err(|_| TokenError::Malformed)?;
    let proof = Proof::<Ristretto255>::deserialize(proof).map_err(|_| TokenError::Malformed)?;
    let elements = evaluated
        .iter()
        .map(|element| EvaluationElement::<Ristretto255>::deserialize(&element.0))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| TokenError::Malformed)?;
    let outputs = VoprfClient::batch_finalize(&blinding.nonces, &blinding.clients, &elements, &proof, key)
        .map_err(|_| TokenError::OtherKey)?;
    blinding
        .nonces
        .iter()
        .zip(outputs)
        .map(|(nonce, output)| Ok(Token { nonce: *nonce, output: output.map_err(|_| TokenError::Malformed)?.into() }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;
    use stonechat_wire::limits::TOKENS_PER_REQUEST_MAX;
    use voprf::{BlindedElement, VoprfServer};

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::from_seed([4; 32])
    }

    fn server(seed: u8) -> VoprfServer<Ristretto255> {
        VoprfServer::new_from_seed(&[seed; 32], b"stonechat v1 token key").unwrap()
    }

    fn key(server: &VoprfServer<Ristretto255>) -> [u8; 32] {
        Ristretto255::serialize_elem(server.get_public_key()).into()
    }

    /// As a server answers.
    fn issue(server: &VoprfServer<Ristretto255>, blinded: &[Element]) -> (Vec<Element>, [u8; 64]) {
        let blinded: Vec<_> =
            blinded.iter().map(|e| BlindedElement::<Ristretto255>::deserialize(&e.0).unwrap()).collect();
        let answer = server.batch_blind_evaluate(&mut rng(), &blinded).unwrap();
        (answer.messages.iter().map(|e| Element(e.serialize().into())).collect(), answer.proof.serialize().into())
    }

    #[test]
    fn tokens_are_those_that_the_server_redeems_and_all_differ() {
        let server = server(1);
        for n in [1, 2, TOKENS_PER_REQUEST_MAX] {
            let (blinded, blinding) = blind(&mut rng(), n);
            let (evaluated, proof) = issue(&server, &blinded);
            let tokens = finish(blinding, &key(&server), &evaluated, &proof).unwrap();
            for token in &tokens {
                assert_eq!(server.evaluate(&token.nonce).unwrap().as_slice(), token.output);
            }
            let distinct: std::collections::BTreeSet<_> = tokens.iter().map(|token| token.nonce).collect();
            assert_eq!(distinct.len(), n);
        }
    }

    #[test]
    fn a_server_that_uses_another_key_than_it_announces_is_found_out() {
        let (blinded, blinding) = blind(&mut rng(), 3);
        let (evaluated, proof) = issue(&server(2), &blinded);
        assert_eq!(finish(blinding, &key(&server(1)), &evaluated, &proof), Err(TokenError::OtherKey));
    }

    #[test]
    fn one_element_under_another_key_spoils_the_batch() {
        let (blinded, blinding) = blind(&mut rng(), 3);
        let (mut evaluated, proof) = issue(&server(1), &blinded);
        evaluated[1] = issue(&server(2), &blinded).0[1];
        assert_eq!(finish(blinding, &key(&server(1)), &evaluated, &proof), Err(TokenError::OtherKey));
    }

    #[test]
    fn a_short_or_malformed_answer_is_refused() {
        let server = server(1);
        let answer = |blinded: &[Element]| issue(&server, blinded);
        let (blinded, blinding) = blind(&mut rng(), 2);
        let (evaluated, proof) = answer(&blinded);
        assert_eq!(
            finish(blinding, &key(&server), &evaluated[..1], &proof),
            Err(TokenError::Count { expected: 2, found: 1 })
        );
        let (_, blinding) = blind(&mut rng(), 2);
        // The identity.
        assert_eq!(finish(blinding, &key(&server), &[Element([0; 32]); 2], &proof), Err(TokenError::Malformed));
        let (_, blinding) = blind(&mut rng(), 2);
        assert_eq!(finish(blinding, &[0xff; 32], &evaluated, &proof), Err(TokenError::Malformed));
        let (_, blinding) = blind(&mut rng(), 2);
        assert_eq!(finish(blinding, &key(&server), &evaluated, &[0xff; 64]), Err(TokenError::Malformed));
    }
}
