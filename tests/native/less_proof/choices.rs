//! The choices of a generator: made by chance, recorded, and made again when a failure is reduced.

/// A source of numbers. In every generator 0 chooses the simplest.
pub struct Choices {
    state: u64,
    again: Option<Vec<u32>>,
    /// Every number that was drawn.
    pub made: Vec<u32>,
}

impl Choices {
    /// The same seed makes the same choices.
    pub fn by_chance(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x2545_f491_4f6c_dd1d), again: None, made: Vec::new() }
    }

    /// These choices, and 0 behind them.
    pub fn again(choices: &[u32]) -> Self {
        Self { state: 0, again: Some(choices.to_vec()), made: Vec::new() }
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        let drawn = match &self.again {
            Some(choices) => choices.get(self.made.len()).copied().unwrap_or(0) as usize % bound,
            None => (self.random() % bound as u64) as usize,
        };
        self.made.push(drawn as u32);
        drawn
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// One of these, the first where nothing speaks for another.
    pub fn any<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// The usual, and once in four times any of the others.
    pub fn mostly<T: Clone>(&mut self, usual: T, others: &[T]) -> T {
        if self.one_in(4) { self.any(others) } else { usual }
    }

    /// At most `most` of these, in their order and without repetition.
    pub fn some_of<T: Clone>(&mut self, of: &[T], most: usize) -> Vec<T> {
        let mut left = self.below(most + 1);
        let mut chosen = Vec::new();
        for (index, each) in of.iter().enumerate() {
            if left > 0 && self.below(of.len() - index) < left {
                left -= 1;
                chosen.push(each.clone());
            }
        }
        chosen
    }

    /// At least one of these.
    pub fn at_least_one_of<T: Clone>(&mut self, of: &[T], most: usize) -> Vec<T> {
        let chosen = self.some_of(of, most);
        if chosen.is_empty() { vec![self.any(of)] } else { chosen }
    }
}

/// Fewer and smaller choices that fail as well.
pub fn reduced(mut choices: Vec<u32>, fails: &dyn Fn(&[u32]) -> bool) -> Vec<u32> {
    loop {
        let before = choices.clone();
        for length in [16, 8, 4, 2, 1] {
            let mut at = 0;
            while at + length <= choices.len() {
                let mut shorter = choices.clone();
                shorter.drain(at..at + length);
                if fails(&shorter) { choices = shorter } else { at += 1 }
            }
        }
        for at in 0..choices.len() {
            for smaller in 0..choices[at] {
                let mut changed = choices.clone();
                changed[at] = smaller;
                if fails(&changed) {
                    choices = changed;
                    break;
                }
            }
        }
        if choices == before {
            return choices;
        }
    }
}
