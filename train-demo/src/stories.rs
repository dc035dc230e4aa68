//! What the demo's features tell, measured: whether states and opposites can be put in each other's place.
//!
//! Nobody says which features mean a state: those are found by what fires them, over all cities. Features of the last layer
//! say words, those below what the words are about; only those below are edited.

use crate::facts::{Facts, LANGUAGES, Opposites, opposite, two_hop};
use anyhow::{Context, Result};
use circuit_index::{FeatureIndex, Layer, Pos, TokenId};
use circuit_intervention::{Change, Edit, Freeze, Interventions, Outcome, Positions, Request};
use circuit_model::Model;
use circuit_model::tokenizer::Tokenizer;
use circuit_transcoder::TranscoderSet;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use tch::Kind;

/// Requests run side by side.
const TOGETHER: usize = 128;
/// Where a question with two hops has its city, and its last word.
pub const CITY: i64 = 9;
/// The last word.
pub const LAST: i64 = 10;
/// Where a question for an opposite says what it is about: at the word, and at its last one.
pub const SAYS_OPERAND: [i64; 2] = [6, 7];
/// Where it says its language: everywhere but at the colon. The name of the language and "the opposite of" are read from there by
/// attention, so that to change the word and the end alone would leave most of what says it. Where attention looks depends on the
/// language, too: patterns have to respond ([`Freeze::Nothing`]).
pub const SAYS_LANGUAGE: [i64; 6] = [1, 3, 4, 5, 6, 7];
/// A feature means a state if it fires on this share of its cities at least,
const FIRES: f64 = 0.75;
/// and carries this share of all its activation there.
const CARRIES: f64 = 0.5;

/// A feature by layer and index, and an activation of it.
pub type Activation = ((usize, i64), f64);

/// For each state (by its place in the table) and position, the features that mean it there, with their mean activation.
pub type Meanings = BTreeMap<(usize, i64), Vec<Activation>>;

/// By state, on how many of its cities a feature fires, and the sum of its activations there.
type ByState = BTreeMap<usize, (f64, f64)>;

/// A model with a set whose features are looked at and edited.
#[derive(Debug)]
pub struct Stories<'a> {
    /// The model.
    pub model: &'a Model,
    /// The set.
    pub set: &'a TranscoderSet,
    /// The model's words.
    pub tokenizer: &'a Tokenizer,
    /// The tables.
    pub facts: &'a Facts,
}

impl Stories<'_> {
    fn tokens(&self, prompt: &str) -> Result<Vec<TokenId>> {
        Ok(self.tokenizer.encode_prompt(prompt)?.tokens)
    }

    fn run(&self, requests: &[Request], freeze: &Freeze) -> Result<Vec<Outcome<'_>>> {
        let interventions = Interventions::new(self.model, self.set, 1)?;
        let mut outcomes = Vec::new();
        for some in requests.chunks(TOGETHER) {
            outcomes.extend(interventions.run(some, freeze)?);
        }
        Ok(outcomes)
    }

    fn says(&self, outcome: &Outcome<'_>) -> Result<String> {
        let token = outcome.logits.get(-1).argmax(-1, false).int64_value(&[]);
        Ok(self.tokenizer.decode_token(TokenId::from(token as usize))?)
    }

    /// What is active at a position, below the last layer.
    fn active(&self, outcome: &Outcome<'_>, pos: i64) -> Result<Vec<Activation>> {
        let mut all = Vec::new();
        for l in 0..self.model.spec().n_layers() - 1 {
            let acts = outcome.activations(Layer::from(l), true)?.get(pos);
            let acts = Vec::<f64>::try_from(acts.to_kind(Kind::Double))?;
            let found = acts.into_iter().enumerate().filter(|(_, a)| *a != 0.0);
            all.extend(found.map(|(f, a)| ((l, f as i64), a)));
        }
        Ok(all)
    }

    /// The features that mean a state, at the city and at the last word.
    ///
    /// # Errors
    /// If the model cannot be run.
    pub fn meanings(&self) -> Result<Meanings> {
        let states = self.facts.states.iter().enumerate();
        let cities: Vec<(usize, &String)> =
            states.flat_map(|(s, state)| state.cities.iter().map(move |city| (s, city))).collect();
        let plain = |city: &String| -> Result<_> {
            Ok(Request { tokens: self.tokens(&two_hop(city))?, edits: vec![] })
        };
        let requests: Vec<_> = cities.iter().map(|(_, city)| plain(city)).collect::<Result<_>>()?;
        // Of each feature and state: on how many cities it fires, and the sum of its activations there.
        let mut sums: BTreeMap<(i64, (usize, i64)), ByState> = BTreeMap::new();
        for ((state, _), outcome) in cities.iter().zip(self.run(&requests, &Freeze::Attention)?) {
            for pos in [CITY, LAST] {
                for (feature, activation) in self.active(&outcome, pos)? {
                    let of_state = sums.entry((pos, feature)).or_default().entry(*state).or_default();
                    *of_state = (of_state.0 + 1.0, of_state.1 + activation);
                }
            }
        }
        let mut meanings = Meanings::new();
        for ((pos, feature), by_state) in sums {
            let whole: f64 = by_state.values().map(|s| s.1).sum();
            for (state, (fires, sum)) in by_state {
                let n_cities = self.facts.states[state].cities.len() as f64;
                if fires >= FIRES * n_cities && sum >= CARRIES * whole {
                    meanings.entry((state, pos)).or_default().push((feature, sum / fires));
                }
            }
        }
        Ok(meanings)
    }

    /// For how many of `pairs` of states the question about a city of the first is answered by the capital of the second, once
    /// what means the first at the city and the last word is multiplied by `out`, and what means the second set to `put` times
    /// its mean on the second's own cities.
    ///
    /// # Errors
    /// If the model cannot be run.
    pub fn steer(
        &self,
        meanings: &Meanings,
        pairs: &[(usize, usize, usize)],
        out: f64,
        put: f64,
    ) -> Result<usize> {
        let request = |&(from, city, to): &(usize, usize, usize)| -> Result<_> {
            let mut edits = Vec::new();
            for pos in [CITY, LAST] {
                let of = |state| meanings.get(&(state, pos)).map_or(&[][..], Vec::as_slice);
                let stays = |f: &(usize, i64)| of(to).iter().any(|(g, _)| g == f);
                let gone = of(from).iter().filter(|(f, _)| !stays(f));
                edits.extend(gone.map(|(f, _)| edit(*f, pos, Change::Scale(out))));
                edits.extend(of(to).iter().map(|(f, mean)| edit(*f, pos, Change::Set(put * mean))));
            }
            Ok(Request { tokens: self.tokens(&two_hop(&self.facts.states[from].cities[city]))?, edits })
        };
        let requests: Vec<_> = pairs.iter().map(request).collect::<Result<_>>()?;
        let mut right = 0;
        for (&(_, _, to), outcome) in pairs.iter().zip(self.run(&requests, &Freeze::Attention)?) {
            right += usize::from(self.says(&outcome)? == self.facts.states[to].capital);
        }
        Ok(right)
    }

    /// `n` ordered pairs of different states, and a city of the first.
    #[must_use]
    pub fn pairs_of_states(&self, n: usize, chance: &mut ChaCha8Rng) -> Vec<(usize, usize, usize)> {
        let states = &self.facts.states;
        let pair = |_| {
            let from = chance.random_range(0..states.len());
            let to = (from + chance.random_range(1..states.len())) % states.len();
            (from, chance.random_range(0..states[from].cities.len()), to)
        };
        (0..n).map(pair).collect()
    }

    /// For how many of the questions for opposites the answer is another's, once what is active at some positions is what is active
    /// there for the other, below the last layer, and `freeze` is held.
    ///
    /// # Errors
    /// If the model cannot be run.
    pub fn swap_opposites(
        &self,
        pairs: &[(Question, Question)],
        at: &[i64],
        freeze: &Freeze,
    ) -> Result<usize> {
        let word = |q: &Question, other: bool| {
            let pair: &Opposites = &self.facts.opposites[q.pair];
            &pair[q.language][usize::from(q.second != other)]
        };
        let plain = |q: &Question| -> Result<_> {
            Ok(Request { tokens: self.tokens(&opposite(q.language, word(q, false)))?, edits: vec![] })
        };
        let both: Vec<&Question> = pairs.iter().flat_map(|(a, b)| [a, b]).collect();
        let requests: Vec<_> = both.into_iter().map(plain).collect::<Result<_>>()?;
        let outcomes = self.run(&requests, freeze)?;
        let mut swapped = Vec::new();
        for (nth, requests) in requests.chunks(2).enumerate() {
            let mut edits = Vec::new();
            for &pos in at {
                let there = self.active(&outcomes[2 * nth], pos)?;
                let put_in = self.active(&outcomes[2 * nth + 1], pos)?;
                let gone = there.iter().filter(|(f, _)| !put_in.iter().any(|(g, _)| g == f));
                edits.extend(gone.map(|&(f, _)| edit(f, pos, Change::Set(0.0))));
                edits.extend(put_in.iter().map(|&(f, a)| edit(f, pos, Change::Set(a))));
            }
            swapped.push(Request { tokens: requests[0].tokens.clone(), edits });
        }
        let mut right = 0;
        for ((_, to), outcome) in pairs.iter().zip(self.run(&swapped, freeze)?) {
            right += usize::from(&self.says(&outcome)? == word(to, true));
        }
        Ok(right)
    }

    /// `n` pairs of questions that differ in the word, or in the language alone.
    #[must_use]
    pub fn pairs_of_opposites(
        &self,
        n: usize,
        by_language: bool,
        chance: &mut ChaCha8Rng,
    ) -> Vec<(Question, Question)> {
        let n_pairs = self.facts.opposites.len();
        let pair = |_| {
            let a = Question {
                language: chance.random_range(0..LANGUAGES.len()),
                pair: chance.random_range(0..n_pairs),
                second: chance.random(),
            };
            let mut b = a;
            if by_language {
                b.language = (a.language + chance.random_range(1..LANGUAGES.len())) % LANGUAGES.len();
            } else {
                b.pair = (a.pair + chance.random_range(1..n_pairs)) % n_pairs;
                b.second = chance.random();
            }
            (a, b)
        };
        (0..n).map(pair).collect()
    }

    /// The place of a state in the table.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn state(&self, name: &str) -> Result<usize> {
        self.facts.states.iter().position(|s| s.name == name).with_context(|| format!("no state {name}"))
    }
}

/// A question for an opposite.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// The language.
    pub language: usize,
    /// The pair of words.
    pub pair: usize,
    /// Whether it is asked about the second of them.
    pub second: bool,
}

/// A change of one feature at one position.
#[must_use]
pub fn edit((layer, feature): (usize, i64), pos: i64, change: Change) -> Edit {
    Edit {
        layer: Layer::from(layer),
        feature: FeatureIndex::from(feature as usize),
        positions: Positions::At(Pos::from(pos as usize)),
        change,
    }
}
