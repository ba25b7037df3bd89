# Stories on a real Kubernetes. Its programs are built once, into the user's cache: a quarter of an hour, so this is no part
# of `make test`. In a cell, as the other lanes: what a killed run leaves goes with it.
.PHONY: test-kube kube-programs kube-agent
kube-programs: setup ## build etcd, Kubernetes and containerd into the user's cache, for test-kube
	@$(PY) -m tests.kube build > /dev/null

kube-agent: setup ## the agent's directory, as the image for test-kube has it
	@$(MAKE) --no-print-directory install DESTDIR=$(BUILD)/kube-agent > /dev/null

test-kube: kube-programs kube-agent ## stories on a real Kubernetes: two nodes with kubelet and containerd on this machine
	@mkdir -p $(RESULTS); mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf
	tests/support/cell.sh $(PYTEST) tests/kube --junit-xml=$(RESULTS)/kube.xml
