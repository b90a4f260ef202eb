//! The flip service: starts, watches and reports the operations of all routes; one per route at a time.

// (The bodies follow; this commit fixes the signatures for the admin room.)
//
// pub struct Deps { config: Arc<Config>, clusters: Clusters, routes: Arc<Routes>, store: Arc<Store>,
//                   replicator: Replicator, clients: Arc<Clients>, policies: Vec<RoutePolicies> /* by RouteId */ }
// pub struct RoutePolicies { cutover: Arc<ArcSwap<Cutover>>, translation: Arc<Translation> }
// impl Service {
//     pub async fn start(deps: Deps) -> Result<Arc<Self>>;
//     pub async fn flip(&self (Arc), route: &str, request: FlipRequest) -> Result<Accepted, Refusal>;
//     pub async fn commit(&self (Arc), route: &str) -> Result<OperationId, Refusal>;
//     pub fn operations(&self) -> Vec<Operation>;
//     pub fn operation(&self, id: &str) -> Option<Operation>;
//     pub async fn routes(&self) -> Vec<RouteView>;
//     pub async fn route(&self, name: &str) -> Option<RouteView>;
// }
