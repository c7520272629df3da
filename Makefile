types:
	@mkdir -p build/types/retune
	@for room in cli pipeline store; do ln -sfn ../../../$$room build/types/retune/$$room; done
