//! The bare consumer: reads the records as they are published, and discards them.
//!
//! The measured period is a fixed number of records, whatever the speed.

use anyhow::{Result, ensure};

use crate::{
    bench::{companion::Companion, cost::Cost, schedule::Schedule, shape::Shape, timing::Time},
    kafka::{Consumer, Topic},
};

/// Has the records of a shape published, and reads them.
pub(crate) fn measure(shape: &Shape, time: Time, kafka: &str, topic: Option<&str>) -> Result<Cost> {
    let topic = Topic::use_or_create(kafka, topic)?;
    let schedule = Schedule::new(shape.rate, time.warmup, time.duration);
    let consumer = Consumer::new(kafka, "floor")?;
    consumer.assign_at_end(&topic.name, topic.partitions)?;
    let producer = Companion::start(
        "produce",
        &[
            ("--kafka", kafka.to_owned()),
            ("--topic", topic.name.clone()),
            ("--events", schedule.events().to_string()),
            ("--rate", shape.rate.to_string()),
            ("--payload", shape.payload.to_string()),
            ("--keys", shape.keys.to_string()),
        ],
    )?;
    consumer.read(schedule.before())?;
    let records = schedule.events() - schedule.before();
    let cost = Cost::of(records, || consumer.read(records))?;
    let published: u64 = producer.finish()?;
    ensure!(published == schedule.events(), "only {published} records were published");
    topic.leave()?;
    Ok(cost)
}
