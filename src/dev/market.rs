//! Twenty simulated stocks whose prices wander.
//!
//! Plain code: time and randomness are arguments. Prices are whole cents, so that published prices
//! are exact and runs with the same seed are equal.
//!
//! Invariant: for every quote `0 < bid < ask` and `bid <= last <= ask`, and a price stays between
//! half and double of its opening price.

use std::time::Duration;

use fastrand::Rng;
use serde::Serialize;

/// Symbol, opening price in cents, and volatility: the largest step in hundredths of a percent.
const LISTINGS: [(&str, u32, u32); 20] = [
    ("AAPL", 22_745, 6),
    ("ADBE", 51_230, 8),
    ("AMD", 14_118, 14),
    ("AMZN", 20_361, 8),
    ("ASML", 71_984, 9),
    ("COST", 91_502, 5),
    ("CSCO", 5_744, 5),
    ("GOOG", 17_690, 7),
    ("IBM", 21_403, 5),
    ("INTC", 2_415, 15),
    ("JPM", 24_137, 6),
    ("KO", 6_288, 3),
    ("META", 56_471, 9),
    ("MSFT", 41_829, 6),
    ("NFLX", 88_160, 10),
    ("NVDA", 13_527, 14),
    ("ORCL", 18_392, 8),
    ("SAP", 23_646, 6),
    ("TSLA", 33_074, 18),
    ("V", 30_955, 4),
];

/// The symbols and the state of each.
#[derive(Debug)]
pub(super) struct Market {
    stocks: Vec<Stock>,
}

/// One stock.
#[derive(Debug)]
struct Stock {
    symbol: &'static str,
    open: u32,
    last: u32,
    volatility: u32,
    volume: u64,
}

/// The published state of a stock after a trade.
///
/// Prices are in the currency's unit, with two decimals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Quote {
    /// The symbol, which is the record's key.
    pub(super) symbol: &'static str,
    /// What a buyer offers.
    pub(super) bid: f64,
    /// What a seller asks.
    pub(super) ask: f64,
    /// The price of the last trade.
    pub(super) last: f64,
    /// Number of shares traded since the market opened.
    pub(super) volume: u64,
    /// Difference between `last` and the opening price, in percent.
    pub(super) change: f64,
}

impl Market {
    /// Starts with every stock at its opening price.
    pub(super) fn open() -> Self {
        let stock = |(symbol, open, volatility)| Stock { symbol, open, last: open, volatility, volume: 0 };
        Self { stocks: LISTINGS.into_iter().map(stock).collect() }
    }

    /// Lets `elapsed` pass, with `rate` trades per second and stock on average, and returns the
    /// stocks that traded.
    ///
    /// A stock trades at most once per call, so a caller keeps `rate * elapsed` well below 1.
    pub(super) fn trade(&mut self, rate: f64, elapsed: Duration, rng: &mut Rng) -> Vec<Quote> {
        let chance = rate * elapsed.as_secs_f64();
        let mut traded = Vec::new();
        for stock in &mut self.stocks {
            if rng.f64() < chance {
                traded.push(stock.trade(rng));
            }
        }
        // So that no symbol is always first.
        rng.shuffle(&mut traded);
        traded
    }
}

impl Stock {
    fn trade(&mut self, rng: &mut Rng) -> Quote {
        let (open, last) = (i64::from(self.open), i64::from(self.last));
        // At least a cent, or a cheap stock would never move.
        let reach = (last * i64::from(self.volatility) / 10_000).max(1);
        // A weak pull towards the opening price keeps a market that runs for days plausible.
        let pull = (open - last) / 400;
        let moved = last + pull + rng.i64(-reach..=reach);
        let moved = moved.clamp(open / 2, open * 2);
        self.last = u32::try_from(moved)
            .expect("between half and double of an opening price, which are far below 2^31");
        self.volume += 10 * rng.u64(1..=40);
        self.quote(rng)
    }

    fn quote(&self, rng: &mut Rng) -> Quote {
        let spread = (self.last / 5_000).max(1);
        // The last trade was somewhere between bid and ask.
        let below = rng.u32(0..=spread);
        let bid = self.last - below;
        let change = f64::from(self.last) / f64::from(self.open) - 1.0;
        Quote {
            symbol: self.symbol,
            bid: price(bid),
            ask: price(bid + spread),
            last: price(self.last),
            volume: self.volume,
            // Adding zero turns -0.0 into 0.0.
            change: (change * 10_000.0).round() / 100.0 + 0.0,
        }
    }
}

fn price(cents: u32) -> f64 {
    f64::from(cents) / 100.0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{ProptestConfig, prop_assert, proptest};

    use super::*;

    const TICK: Duration = Duration::from_millis(50);

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_quote_has_a_bid_below_its_ask_and_a_price_near_its_opening(seed: u64, rate in 0.5f64..20.0) {
            let mut rng = Rng::with_seed(seed);
            let mut market = Market::open();
            for _ in 0..2_000 {
                for quote in market.trade(rate, TICK, &mut rng) {
                    let (_, open, _) = LISTINGS.into_iter().find(|(symbol, ..)| *symbol == quote.symbol)
                        .expect("a quote is of a listed symbol");
                    prop_assert!(0.0 < quote.bid && quote.bid < quote.ask, "{quote:?}");
                    prop_assert!(quote.bid <= quote.last && quote.last <= quote.ask, "{quote:?}");
                    prop_assert!(price(open / 2) <= quote.last && quote.last <= price(open * 2), "{quote:?}");
                }
            }
        }

        #[test]
        fn volume_only_grows(seed: u64) {
            let mut rng = Rng::with_seed(seed);
            let mut market = Market::open();
            let mut volumes = std::collections::HashMap::new();
            for _ in 0..500 {
                for quote in market.trade(10.0, TICK, &mut rng) {
                    let before = volumes.insert(quote.symbol, quote.volume).unwrap_or(0);
                    prop_assert!(before < quote.volume, "{quote:?} after {before}");
                }
            }
        }
    }

    #[test]
    fn every_symbol_trades_about_as_often_as_asked() {
        let mut rng = Rng::with_seed(7);
        let mut market = Market::open();
        let ticks = 20_000;
        let trades: usize = (0..ticks).map(|_| market.trade(6.0, TICK, &mut rng).len()).sum();
        // 20 stocks × 6 per second × 1,000 seconds.
        assert!((115_000..125_000).contains(&trades), "{trades} trades in 1,000 s");
    }

    #[test]
    fn every_stock_moves_both_ways() {
        let mut rng = Rng::with_seed(1);
        let mut market = Market::open();
        let (mut rose, mut fell) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..20_000 {
            for quote in market.trade(10.0, TICK, &mut rng) {
                let side = if quote.change > 0.0 { &mut rose } else { &mut fell };
                side.insert(quote.symbol);
            }
        }
        assert_eq!(rose.len(), LISTINGS.len(), "{rose:?}");
        assert_eq!(fell.len(), LISTINGS.len(), "{fell:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_market() {
        let run = || {
            let mut rng = Rng::with_seed(42);
            let mut market = Market::open();
            (0..200).flat_map(|_| market.trade(6.0, TICK, &mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn a_market_without_rate_does_not_trade() {
        let mut rng = Rng::with_seed(3);
        assert!(Market::open().trade(0.0, Duration::from_secs(60), &mut rng).is_empty());
    }
}
