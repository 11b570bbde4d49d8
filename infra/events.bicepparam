// az deployment group create --resource-group FLOW_LOG_RESOURCE_GROUP --parameters infra/events.bicepparam
using 'events.bicep'

param systemTopicName = 'SYSTEM_TOPIC'
param functionAppName = 'FUNCTION_APP'
param functionAppResourceGroup = 'RESOURCE_GROUP'
param resultsAccountName = 'RESULTS_ACCOUNT'
