// What has to be said comes from the environment, so that this file serves `az` and `azd` as it is:
//   az deployment group create --resource-group flowtally --name main --parameters infra/main.bicepparam
// Other parameters can stand behind it (alerts=true), or in a copy of this file; see docs/deploy.md.
using 'main.bicep'

param flowLogAccounts = [
  {
    name: readEnvironmentVariable('FLOW_LOG_ACCOUNT', '(FLOW_LOG_ACCOUNT is not set)')
    resourceGroup: readEnvironmentVariable('FLOW_LOG_RESOURCE_GROUP', '(FLOW_LOG_RESOURCE_GROUP is not set)')
  }
]
