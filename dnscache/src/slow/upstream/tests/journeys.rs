//! What is noted of a question on its way.

use super::*;
use crate::slow::journey::Journey;

async fn ask_noting(route: &Arc<Route>, client: Transport) -> (Told, Arc<Journey>) {
    let journey = Arc::<Journey>::default();
    let asking = Asking {
        client,
        deadline: deadline(),
        holder: None,
        is_known: true,
        journey: Arc::clone(&journey),
    };
    let (sender, receiver) = oneshot::channel();
    route.ask_then(&key("www.example"), asking, |told| {
        let _ = sender.send(told);
    });
    (receiver.await.expect("told"), journey)
}

#[tokio::test]
async fn every_upstream_tried_is_noted_with_its_end() {
    let (failing, good) = (Fake::failing(5).await, Fake::good(1).await);
    let route = start(&forward(&[failing.address, good.address]));
    let (told, journey) = ask_noting(&route, Transport::Udp).await;
    assert_eq!(last_octet(&told), 1);
    let told = journey.to_string();
    let tries: Vec<&str> = told.split(", ").collect();
    assert!(tries[0].starts_with(&format!("{} udp REFUSED after ", failing.address)), "{told}");
    assert!(tries[1].starts_with(&format!("{} udp NOERROR after ", good.address)), "{told}");
    assert_eq!(tries.len(), 2);
}

#[tokio::test]
async fn a_connection_is_noted_apart_from_the_answer() {
    let good = Fake::good(1).await;
    let route = start(&forward(&[good.address]));
    let (_, journey) = ask_noting(&route, Transport::Tcp).await;
    let told = journey.to_string();
    assert!(told.starts_with(&format!("{} tcp connected after ", good.address)), "{told}");
    assert!(told.contains(" ms NOERROR after "), "{told}");
    assert!(journey.connecting() > Duration::ZERO);
}

#[tokio::test]
async fn silence_is_noted_for_as_long_as_it_lasts() {
    let (silent, good) = (Fake::silent().await, Fake::good(1).await);
    let route = start(&forward(&[silent.address, good.address]));
    let (_, journey) = ask_noting(&route, Transport::Udp).await;
    let told = journey.to_string();
    assert!(told.starts_with(&format!("{} udp no answer after ", silent.address)), "{told}");
    assert!(told.contains(&format!("{} udp NOERROR after ", good.address)), "{told}");
}
