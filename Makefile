# Two commands do everything: `make dev` and `make test`. Neither asks anything.

.PHONY: dev test coverage sqlx ci

# The API with three demo organisations, on http://localhost:8080. ARGS='--port 9090 --fresh' and the like.
dev:
	@.ci/servers
	@echo "Building (the first time takes some minutes) .."
	cargo run --quiet --locked -- dev $(ARGS)

# Everything, on private servers of its own. T='orders' runs the tests with orders in their name.
test:
	@.ci/servers
	cargo test --locked $(T)

# Lines that the tests reach.
coverage:
	@.ci/servers
	@.ci/coverage

# After a change of a query or a migration: writes down what Postgres says of each query.
sqlx:
	@.ci/servers
	@.ci/sqlx

# What a change must pass.
ci:
	@.ci/run
