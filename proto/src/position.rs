//! Positions: the progress of a subscription in its channel.

use std::{collections::BTreeMap, fmt, str::FromStr};

use crate::{Epoch, EpochError, Offset, PartitionId, push::v1};

/// The progress of a subscription: the next offset to deliver from each partition of its channel.
///
/// The text form is `EPOCH/COUNT@PARTITION:OFFSET,…`, for example
/// `ASNFZ4mrze_-3LqYdlQyEA/8@0:123,3:77`. `/COUNT` and `EPOCH/COUNT@` are optional, for positions
/// written by hand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Position {
    /// The incarnation of the topic. `None`: the current one.
    pub epoch: Option<Epoch>,
    /// The next offset of each partition.
    pub offsets: BTreeMap<PartitionId, Offset>,
    /// The number of partitions of the topic. `None`: not known.
    pub partition_count: Option<u32>,
}

/// Why a position is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PositionError {
    /// The epoch is invalid.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// A partition's offset is not written as `PARTITION:OFFSET`.
    #[error(
        "{found:?} is not PARTITION:OFFSET; a position is EPOCH/COUNT@PARTITION:OFFSET,… or PARTITION:OFFSET,…"
    )]
    Form {
        /// The text found, shortened.
        found: String,
    },
    /// The number of partitions is invalid.
    #[error("{found:?} is not a number of partitions, 1 or more")]
    Count {
        /// The text found, shortened.
        found: String,
    },
    /// The number is not a partition.
    #[error("offsets[{index}].partition: {partition} is not a partition")]
    Partition {
        /// The index of the offset.
        index: usize,
        /// The number found.
        partition: u32,
    },
    /// An offset is negative.
    #[error("offsets[{index}].offset: {offset} is not an offset; offsets are 0 or more")]
    Offset {
        /// The index of the offset.
        index: usize,
        /// The number found.
        offset: i64,
    },
    /// A partition occurs twice.
    #[error("offsets[{index}].partition: partition {partition} occurs twice")]
    Twice {
        /// The index of the offset.
        index: usize,
        /// The partition.
        partition: PartitionId,
    },
}

impl TryFrom<v1::Position> for Position {
    type Error = PositionError;

    fn try_from(position: v1::Position) -> Result<Self, PositionError> {
        let epoch = if position.epoch.is_empty() { None } else { Some(position.epoch.parse()?) };
        let mut offsets = BTreeMap::new();
        for (index, at) in position.offsets.iter().enumerate() {
            let partition = PartitionId::try_from(at.partition)
                .map_err(|_| PositionError::Partition { index, partition: at.partition })?;
            let offset = Offset::new(at.offset).ok_or(PositionError::Offset { index, offset: at.offset })?;
            if offsets.insert(partition, offset).is_some() {
                return Err(PositionError::Twice { index, partition });
            }
        }
        let partition_count = (position.partition_count > 0).then_some(position.partition_count);
        Ok(Self { epoch, offsets, partition_count })
    }
}

impl From<&Position> for v1::Position {
    fn from(position: &Position) -> Self {
        Self {
            epoch: position.epoch.map(|epoch| epoch.to_string()).unwrap_or_default(),
            offsets: position
                .offsets
                .iter()
                .map(|(partition, offset)| v1::PartitionOffset {
                    partition: partition.get(),
                    offset: offset.get(),
                })
                .collect(),
            partition_count: position.partition_count.unwrap_or_default(),
        }
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let (head, offsets) = match text.split_once('@') {
            Some((head, offsets)) => (Some(head), offsets),
            None => (None, text),
        };
        let (epoch, count) = match head.map(|head| head.split_once('/').unwrap_or((head, ""))) {
            Some((epoch, count)) => (Some(epoch.parse()?), count),
            None => (None, ""),
        };
        let partition_count = match count {
            "" => None,
            count => Some(
                count
                    .parse()
                    .ok()
                    .filter(|count| *count > 0)
                    .ok_or_else(|| PositionError::Count { found: shorten(count) })?,
            ),
        };
        let mut position = Self { epoch, offsets: BTreeMap::new(), partition_count };
        for (index, part) in offsets.split(',').enumerate().filter(|(_, part)| !part.is_empty()) {
            let (partition, offset) = parse_offset(part)?;
            if position.offsets.insert(partition, offset).is_some() {
                return Err(PositionError::Twice { index, partition });
            }
        }
        if position.offsets.is_empty() && position.epoch.is_none() {
            return Err(PositionError::Form { found: shorten(text) });
        }
        Ok(position)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(epoch) = self.epoch {
            write!(f, "{epoch}")?;
            if let Some(count) = self.partition_count {
                write!(f, "/{count}")?;
            }
            f.write_str("@")?;
        }
        for (i, (partition, offset)) in self.offsets.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{partition}:{offset}")?;
        }
        Ok(())
    }
}

fn parse_offset(part: &str) -> Result<(PartitionId, Offset), PositionError> {
    let parse = || {
        let (partition, offset) = part.split_once(':')?;
        let partition = PartitionId::try_from(partition.parse::<u32>().ok()?).ok()?;
        Some((partition, Offset::new(offset.parse().ok()?)?))
    };
    parse().ok_or_else(|| PositionError::Form { found: shorten(part) })
}

fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, proptest};

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = match text.parse::<Position>() {
            Ok(position) => position.to_string(),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected), "{text:?}: expected {expected:?}, found {found:?}");
    }

    #[test]
    fn a_position_is_written_as_text() {
        check("0:123,3:77", "0:123,3:77");
        check("ASNFZ4mrze_-3LqYdlQyEA@0:1", "ASNFZ4mrze_-3LqYdlQyEA@0:1");
        check("ASNFZ4mrze_-3LqYdlQyEA/8@7:0", "ASNFZ4mrze_-3LqYdlQyEA/8@7:0");
    }

    #[test]
    fn what_is_not_a_position_is_refused_with_the_reason() {
        check("", "is not PARTITION:OFFSET");
        check("live", "\"live\" is not PARTITION:OFFSET");
        check("0:-1", "\"0:-1\" is not PARTITION:OFFSET");
        check("0:1,0:2", "partition 0 occurs twice");
        check("x@0:1", "\"x\" is not an epoch");
        check("ASNFZ4mrze_-3LqYdlQyEA/0@0:1", "\"0\" is not a number of partitions");
    }

    #[test]
    fn a_wire_position_is_refused_with_the_field() {
        let wire = |partition, offset| v1::Position {
            offsets: vec![
                v1::PartitionOffset { partition: 0, offset: 1 },
                v1::PartitionOffset { partition, offset },
            ],
            ..Default::default()
        };
        let error =
            |wire: v1::Position| Position::try_from(wire).expect_err("it is not a position").to_string();
        assert_eq!(error(wire(1, -2)), "offsets[1].offset: -2 is not an offset; offsets are 0 or more");
        assert_eq!(error(wire(u32::MAX, 0)), "offsets[1].partition: 4294967295 is not a partition");
        assert_eq!(error(wire(0, 0)), "offsets[1].partition: partition 0 occurs twice");
    }

    fn positions() -> impl Strategy<Value = Position> {
        let offsets = proptest::collection::btree_map(0..1000_u32, 0..i64::MAX, 1..8);
        (any::<(i64, i64)>(), offsets, proptest::option::of(1..1000_u32)).prop_map(
            |((most, least), offsets, count)| Position {
                epoch: Some(Epoch::from_bits(most, least)),
                offsets: offsets
                    .into_iter()
                    .filter_map(|(partition, offset)| {
                        Some((PartitionId::new(partition), Offset::new(offset)?))
                    })
                    .collect(),
                partition_count: count,
            },
        )
    }

    proptest! {
        #[test]
        fn text_and_wire_forms_give_the_position_back(position in positions()) {
            assert_eq!(position.to_string().parse(), Ok(position.clone()));
            assert_eq!(Position::try_from(v1::Position::from(&position)), Ok(position));
        }
    }
}
