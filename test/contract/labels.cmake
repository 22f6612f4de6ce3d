# For ctest, after the discovery of tests.
if(tunport_kernel_contract)
  set_tests_properties(${tunport_kernel_contract} PROPERTIES LABELS "contract;kernel")
endif()
